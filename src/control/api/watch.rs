//! What is told of chosen packets as they come, as text or as a capture file: answers that go on until somebody hangs up.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, timeout};

use super::terms::{self, FlowTerms, PacketTerms, Terms};
use super::{Office, Problem, problem};
use crate::capture::Pcapng;
use crate::config::value;
use crate::counters::DropReason;
use crate::inquiry::{Fate, Filter, Question, Record, Watch};

/// How often it is looked for news from the workers.
const LOOK: Duration = Duration::from_millis(20);

/// How long a reader may take nothing of what is there for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pieces of an answer that may wait for their reader.
const PIECES: usize = 8;

/// What is asked for.
struct Wish {
    filter: Filter,
    fate: Fate,
    /// The number of packets after which it is over.
    count: u64,
    /// The time after which it is over.
    time: Duration,
}

/// How records become bytes.
enum Format {
    Text,
    Capture(Pcapng),
}

/// Lines about each packet for which all terms hold, until somebody hangs up.
#[utoipa::path(
    get,
    path = "/api/v1/trace",
    params(FlowTerms, PacketTerms),
    responses((status = 200, body = String), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
pub(super) async fn trace(State(office): State<Office>, Query(terms): Terms) -> Response {
    stream(&office, &terms, Format::Text, Vec::new(), "text/plain; charset=utf-8").await
}

/// Such packets as a capture file in the format pcapng, each as it came and as it left.
#[utoipa::path(
    get,
    path = "/api/v1/capture",
    params(FlowTerms, PacketTerms),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/x-pcapng"),
        (status = 400, body = Problem),
        (status = 404, body = Problem),
    ),
)]
pub(super) async fn capture(State(office): State<Office>, Query(terms): Terms) -> Response {
    let snapshot = office.source.current.load();
    let ports: Vec<_> = snapshot.ports().iter().map(|port| (port.id.0, port.name.clone())).collect();
    let (file, head) = Pcapng::begin(&ports);
    stream(&office, &terms, Format::Capture(file), head, "application/x-pcapng").await
}

async fn stream(
    office: &Office,
    terms: &[(String, String)],
    format: Format,
    head: Vec<u8>,
    kind: &'static str,
) -> Response {
    let wish = match Wish::read(terms) {
        Ok(wish) => wish,
        Err(message) => return problem(StatusCode::BAD_REQUEST, &message),
    };
    if let Err(refused) = terms::service(office, &wish.filter) {
        return refused;
    }
    let watch = Watching(Arc::new(Watch::new(wish.filter, wish.fate, office.inquirer.workers())));
    let asked = office.inquirer.ask(|| Question::Watch { watch: Arc::clone(&watch.0), accepted: false }).await;
    match asked {
        Err(error) => return problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Ok(answers) => {
            let refuses = |answer: &Question| matches!(answer, Question::Watch { accepted: false, .. });
            if answers.iter().any(refuses) {
                return problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many are watching packets already; end one of them",
                );
            }
        }
    }
    let (sender, receiver) = mpsc::channel(PIECES);
    let late = Instant::now() + wish.time;
    tokio::spawn(pump(watch, format, head, wish.count, late, sender));
    ([(header::CONTENT_TYPE, kind)], Body::new(Pieces(receiver))).into_response()
}

impl Wish {
    fn read(terms: &[(String, String)]) -> Result<Self, String> {
        let mut wish =
            Self { filter: Filter::default(), fate: Fate::Any, count: u64::MAX, time: Duration::from_secs(1 << 32) };
        for (term, value) in terms {
            match term.as_str() {
                "drop" if value == "any" => wish.fate = Fate::Dropped,
                "drop" => {
                    let reason = DropReason::ALL.iter().find(|reason| reason.name() == value);
                    let unknown = || format!("drop={value}: write any, or a reason as leatctl drops shows it");
                    wish.fate = Fate::DroppedFor(*reason.ok_or_else(unknown)?);
                }
                "count" => {
                    let count = value.parse().ok().filter(|count| *count > 0);
                    wish.count = count.ok_or_else(|| format!("count={value}: write a number of packets"))?;
                }
                "time" => wish.time = value::duration("time", value)?,
                "state" => return Err("state is a term for connections; packets have none".to_owned()),
                _ => wish.filter.add(term, value).map_err(|error| error.to_string())?,
            }
        }
        Ok(wish)
    }
}

/// A watch that is over when nobody holds it any more.
struct Watching(Arc<Watch>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Brings what workers tell to the reader, until it has had `count` packets, it is `late`, or it is gone.
async fn pump(watch: Watching, mut format: Format, head: Vec<u8>, count: u64, late: Instant, reader: Sender<Bytes>) {
    let mut piece = head;
    let mut left = count;
    loop {
        let mut untold = 0;
        for channel in watch.0.channels() {
            while left > 0 && channel.read(|record| format.write(&mut piece, record, channel.time_of(record))).is_some()
            {
                left -= 1;
            }
            untold += channel.take_untold();
        }
        if untold > 0 {
            format.miss(&mut piece, untold);
        }
        if !piece.is_empty() {
            match timeout(PATIENCE, reader.send(std::mem::take(&mut piece).into())).await {
                Ok(Ok(())) => {}
                // It is gone, or deaf.
                Ok(Err(_)) | Err(_) => return,
            }
        }
        if left == 0 || Instant::now() >= late {
            return;
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = reader.closed() => return,
        }
    }
}

impl Format {
    fn write(&self, piece: &mut Vec<u8>, record: &Record, time: u64) {
        match self {
            Self::Text => piece.extend_from_slice(record.story.as_bytes()),
            Self::Capture(file) => file.packet(piece, record, time),
        }
    }

    /// Says that so many packets are missing.
    fn miss(&mut self, piece: &mut Vec<u8>, untold: u64) {
        match self {
            Self::Text => {
                let line = format!("{untold} more packets came than could be told of here\n");
                piece.extend_from_slice(line.as_bytes());
            }
            Self::Capture(file) => {
                let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                file.missing(piece, untold, today.as_nanos() as u64);
            }
        }
    }
}

/// The pieces of an answer, as they come.
struct Pieces(Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
