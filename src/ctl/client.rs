//! One question to leat's API and its answer, over a Unix socket or TCP.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Common, Failure};
use crate::config::ApiAddress;
use crate::control::Token;

/// How long an answer is awaited: a reload of a large file takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether somebody has had enough of an answer that goes on.
const GLANCE: Duration = Duration::from_millis(100);

/// Who asks.
pub struct Client<'a> {
    common: &'a Common,
    token: Option<Token>,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Client<'a> {
    /// A client of the leat that `common` names.
    ///
    /// # Errors
    ///
    /// When there are no resources for it.
    pub fn new(common: &'a Common) -> Result<Self, Failure> {
        let unusable = |error: String| Failure::Unusable(error);
        let token = common.token_file.as_deref().map(Token::read).transpose().map_err(|error| {
            // The option is called otherwise than the key.
            unusable(error.to_string().replace("api_token_file", "--token-file"))
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { common, token, runtime: runtime.map_err(|error| unusable(error.to_string()))? })
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

    /// Gives `take` the pieces of what is at `path` as they come, until it ends, `stop` is set, or `take` fails; `begun` is told
    /// when leat has said yes.
    ///
    /// # Errors
    ///
    /// As [`Failure`] says, those of `take` among them.
    pub fn stream(
        &self,
        path: &str,
        stop: &AtomicBool,
        begun: impl FnOnce(),
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let request = self.request(Method::GET, path, None)?;
        let lost = |error: Error| self.unreachable(error.to_string());
        self.runtime.block_on(async {
            let answered = timeout(PATIENCE, self.answer(request)).await;
            let mut answer = answered
                .map_err(|_| self.unreachable(format!("nothing for {} seconds", PATIENCE.as_secs())))?
                .map_err(lost)?;
            let code = answer.status().as_u16();
            if !(200..300).contains(&code) {
                let body = answer.into_body().collect().await.map_err(|error| lost(error.into()))?.to_bytes();
                return Err(refused(code, &String::from_utf8_lossy(&body)));
            }
            begun();
            while !stop.load(Relaxed) {
                match timeout(GLANCE, answer.body_mut().frame()).await {
                    // Nothing yet.
                    Err(_) => {}
                    Ok(None) => break,
                    Ok(Some(Err(error))) => return Err(lost(error.into())),
                    Ok(Some(Ok(frame))) => {
                        if let Some(piece) = frame.data_ref() {
                            take(piece)?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Sends `text` to `path`, or nothing; the answer as it is.
    ///
    /// # Errors
    ///
    /// As [`Failure`] says.
    pub fn exchange(&self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<String, Failure> {
        let request = self.request(method, path, body)?;
        let exchanged = async {
            let answer = self.answer(request).await?;
            let code = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, Error>((code, String::from_utf8(body.into())?))
        };
        // A timeout begins within the runtime.
        let answer = self.runtime.block_on(async { timeout(PATIENCE, exchanged).await });
        let (code, text) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.unreachable(error.to_string())),
            Err(_) => return Err(self.unreachable(format!("nothing for {} seconds", PATIENCE.as_secs()))),
        };
        if (200..300).contains(&code) { Ok(text) } else { Err(refused(code, &text)) }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder().method(method).uri(path).header("host", "leat");
        if let Some(token) = &self.token {
            request = request.header("authorization", token.header());
        }
        if let Some((kind, _)) = &body {
            request = request.header("content-type", *kind);
        }
        let body = Full::new(Bytes::from(body.map(|(_, text)| text).unwrap_or_default()));
        request.body(body).map_err(|error| Failure::Unusable(format!("{path}: {error}")))
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        match &self.common.api {
            ApiAddress::Unix(path) => ask(UnixStream::connect(path).await?, request).await,
            ApiAddress::Tcp(address) => ask(TcpStream::connect(address).await?, request).await,
        }
    }

    fn unreachable(&self, error: String) -> Failure {
        Failure::Unreachable { api: self.common.api.to_string(), error }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// leat's words about why there is no answer.
fn refused(code: u16, text: &str) -> Failure {
    let said: Option<Value> = serde_json::from_str(text).ok();
    let said = said.as_ref().and_then(|said| said["error"].as_str());
    Failure::Refused { code, message: said.unwrap_or(text).to_owned() }
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It carries the bytes until the answer is there.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
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
