//! One question to leat's API and its answer, over a Unix socket or TCP.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{Common, Failure};
use crate::config::ApiAddress;

/// How long an answer is awaited: a reload of a large file takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks.
pub struct Client<'a> {
    common: &'a Common,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Client<'a> {
    /// A client of the leat that `common` names.
    ///
    /// # Errors
    ///
    /// When there are no resources for it.
    pub fn new(common: &'a Common) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|runtime| Self { common, runtime }).map_err(|error| Failure::Unusable(error.to_string()))
    }

    /// What is at `path`, as JSON.
    ///
    /// # Errors
    ///
    /// As [`Failure`] says.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None)
    }

    /// Sends `body` to `path`; the answer, as JSON.
    ///
    /// # Errors
    ///
    /// As [`Failure`] says.
    pub fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let body = body.map(|body| ("application/json", body.to_string()));
        let text = self.exchange(method, path, body)?;
        serde_json::from_str(&text)
            .map_err(|error| self.unreachable(format!("it does not answer as leat does: {error}")))
    }

    /// Sends `text` to `path`, or nothing; the answer as it is.
    ///
    /// # Errors
    ///
    /// As [`Failure`] says.
    pub fn exchange(&self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<String, Failure> {
        let mut request = Request::builder().method(method).uri(path).header("host", "leat");
        if let Some((kind, _)) = &body {
            request = request.header("content-type", *kind);
        }
        let body = Full::new(Bytes::from(body.map(|(_, text)| text).unwrap_or_default()));
        let request = request.body(body).map_err(|error| Failure::Unusable(format!("{path}: {error}")))?;
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                match &self.common.api {
                    ApiAddress::Unix(path) => ask(UnixStream::connect(path).await?, request).await,
                    ApiAddress::Tcp(address) => ask(TcpStream::connect(address).await?, request).await,
                }
            })
            .await
        });
        let (code, text) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.unreachable(error.to_string())),
            Err(_) => return Err(self.unreachable(format!("nothing for {} seconds", PATIENCE.as_secs()))),
        };
        if (200..300).contains(&code) {
            return Ok(text);
        }
        let said: Option<Value> = serde_json::from_str(&text).ok();
        let said = said.as_ref().and_then(|said| said["error"].as_str());
        Err(Failure::Refused { code, message: said.unwrap_or(&text).to_owned() })
    }

    fn unreachable(&self, error: String) -> Failure {
        Failure::Unreachable { api: self.common.api.to_string(), error }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(u16, String), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It carries the bytes until the answer is there.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((code, String::from_utf8(body.into())?))
}

/// A part of a path, with everything escaped that has a meaning in one.
pub(super) fn segment(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_part_of_the_path() {
        assert_eq!(segment("tcp:10.0.0.10:80"), "tcp:10.0.0.10:80");
        assert_eq!(segment("../status?x#y%"), "..%2Fstatus%3Fx%23y%25");
    }
}
