//! Serves clients of the API, as many as there is room for, and lets none of them hold up another.
//!
//! A client that is silent, slow or deaf loses its connection after a while; one that comes when too many are there already is
//! hung up on.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;

/// Clients of one listener at the same time.
const MOST_CLIENTS: usize = 256;

/// How long a client may take to say what it wants, from its first byte or the last answer on.
const HEADER_PATIENCE: Duration = Duration::from_secs(15);

/// How long a client may take nothing of its answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// How long nobody is accepted after the operating system has refused to.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Answers whoever `accept` brings with what `router` says. It does not end.
pub(super) async fn serve<S, A, F>(accept: A, router: Router) -> Infallible
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    A: Fn() -> F,
    F: Future<Output = io::Result<S>>,
{
    let room = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        let stream = match accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Of file descriptors, for one, there may be none for a moment.
                log::debug!("the API cannot accept a client: {error}");
                sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        // Nobody is answered who comes when it is full: to say so would take a place, too.
        if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
            let router = router.clone();
            tokio::spawn(async move {
                attend(stream, router).await;
                drop(place);
            });
        }
    }
}

/// Answers one client until it has no more questions.
async fn attend<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, router: Router) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    // What a client does wrong is its own business.
    let _: Result<(), hyper::Error> = connection.await;
}
