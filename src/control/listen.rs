//! The sockets that leat listens on beside its ports, and the thread that serves them.
//!
//! All are served by one small asynchronous runtime, in a thread of its own.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use tokio::sync::oneshot::Receiver;

use crate::config::ApiAddress;

/// Who may use the socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another leat listens there.
    #[error("--api: {path} is in use by a running leat; give this one another, such as --api unix:{path}.2")]
    InUse {
        /// The socket.
        path: String,
    },
    /// Something else is in the way.
    #[error("--api: {path} exists and is not a socket; remove it, or choose another path")]
    NotASocket {
        /// The path.
        path: String,
    },
    /// The operating system says no.
    #[error("{key}: cannot listen on {address}: {error}")]
    Io {
        /// What was to listen there.
        key: &'static str,
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
}

/// A bound socket, not yet served. A Unix socket's file goes away with it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(std::net::TcpListener),
}

/// Removes a socket's file in the end.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it before did what was to be done.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Whether clients come over TCP.
    pub const fn is_tcp(&self) -> bool {
        matches!(self.socket, Socket::Tcp(_))
    }

    /// Binds `address`. A socket file that nobody listens on any more is replaced; its folder is made if it is missing.
    ///
    /// # Errors
    ///
    /// As [`ListenError`] says.
    pub fn bind(address: &ApiAddress) -> Result<Self, ListenError> {
        match address {
            ApiAddress::Unix(path) => {
                let listener = bind_unix(path)?;
                Ok(Self { socket: Socket::Unix(listener), file: Some(SocketFile(path.clone())) })
            }
            ApiAddress::Tcp(socket) => Self::bind_tcp("--api", *socket),
        }
    }

    /// Binds `address` for what `key` names.
    ///
    /// # Errors
    ///
    /// As [`ListenError::Io`] says.
    pub fn bind_tcp(key: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let listener =
            bind_tcp(address).map_err(|error| ListenError::Io { key, address: address.to_string(), error })?;
        Ok(Self { socket: Socket::Tcp(listener), file: None })
    }
}

/// Answers requests on each of `listeners` with what stands beside it until `stop` is sent, or its sender dropped; then it
/// hangs up on everybody.
///
/// # Errors
///
/// When the runtime cannot start.
pub fn serve(listeners: Vec<(Listener, Router)>, stop: Receiver<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut files = Vec::new();
        for (listener, router) in listeners {
            files.push(listener.file);
            // Neither ever ends by itself.
            match listener.socket {
                Socket::Unix(listener) => {
                    let listener = Arc::new(tokio::net::UnixListener::from_std(listener)?);
                    let accept = move || {
                        let listener = Arc::clone(&listener);
                        async move { Ok(listener.accept().await?.0) }
                    };
                    drop(tokio::spawn(super::serve::serve(accept, router)));
                }
                Socket::Tcp(listener) => {
                    let listener = Arc::new(tokio::net::TcpListener::from_std(listener)?);
                    let accept = move || {
                        let listener = Arc::clone(&listener);
                        async move { Ok(listener.accept().await?.0) }
                    };
                    drop(tokio::spawn(super::serve::serve(accept, router)));
                }
            }
        }
        // Without a sender nobody can say stop any more: that says it, too.
        let _ = stop.await;
        Ok(())
    })
}

fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let address = ApiAddress::Unix(path.to_owned());
    let failed = |error| failed(&address, error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let shown = path.display().to_string();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => return Err(ListenError::NotASocket { path: shown }),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
            Ok(_) => return Err(ListenError::InUse { path: shown }),
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn failed(address: &ApiAddress, error: io::Error) -> ListenError {
    ListenError::Io { key: "--api", address: address.to_string(), error }
}
