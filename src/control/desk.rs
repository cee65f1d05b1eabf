//! What clients of the API ask the control thread for, and its answers.
//!
//! ```text
//! API: Desk::ask ── Request ──▶ control thread: Asked, Running
//!                ◀── Answer ──
//! ```
//!
//! The control thread alone changes what runs, one request after the other. A client that has gone away meanwhile misses its
//! answer, and holds up nobody.

use std::net::IpAddr;

use crossbeam::channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::{ApplyError, Difference, Edit, EditError, Editor, ReloadError, Running};
use crate::config::emit::emit;
use crate::config::file::{self, Loaded};
use crate::time::Instant;

/// Requests that may wait. The API is answered one by one, so this many clients ask at the same moment.
const WAITING: usize = 64;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// One change.
    Edit(Edit),
    /// The configuration that runs, as a file.
    Show,
    /// What this file would change, without a change.
    Check(Vec<u8>),
    /// That this file runs.
    Apply(Vec<u8>),
    /// That a VIP, or all of them if none is named, is announced or withdrawn.
    SetAnnounced {
        /// Which.
        vip: Option<IpAddr>,
        /// Whether it shall be announced.
        announced: bool,
    },
    /// That the file is read again that leat was started with.
    Reload,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What has changed, or would, in words.
    Changed {
        /// The sentence.
        what: String,
        /// What is legal and yet likely not meant, a sentence each.
        warnings: Vec<String>,
    },
    /// A file.
    Text(String),
}

/// Why nothing came of it. Everything runs as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It asks for what is not there.
    #[error("{0}")]
    Missing(String),
    /// It breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// It is right by itself, and does not fit what runs.
    #[error("{0}")]
    Conflict(String),
    /// leat is about to end, or very busy.
    #[error("leat does not take this now: it is ending, or has too much to do; try again")]
    Unavailable,
}

/// One request on its way.
#[derive(Debug)]
pub struct Asked {
    /// What is asked for.
    pub request: Request,
    answer: oneshot::Sender<Result<Answer, Refusal>>,
}

/// Where requests are left.
#[derive(Clone, Debug)]
pub struct Desk(Sender<Asked>);

/// A desk, and what is left at it.
pub fn desk() -> (Desk, Receiver<Asked>) {
    let (sender, receiver) = bounded(WAITING);
    (Desk(sender), receiver)
}

impl Desk {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// As [`Refusal`] says.
    pub async fn ask(&self, request: Request) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Asked { request, answer }).map_err(|_| Refusal::Unavailable)?;
        answered.await.unwrap_or(Err(Refusal::Unavailable))
    }
}

impl Asked {
    /// Does what is asked for, with `reload` to read the file again; after a change it waits with `wait`, and then answers.
    /// Returns what the log is to say.
    pub fn settle(
        self,
        running: &mut Running,
        editor: &mut Editor,
        now: Instant,
        reload: impl FnOnce(&mut Running) -> Result<Answer, ReloadError>,
        wait: impl FnOnce(&mut Running),
    ) -> Option<String> {
        let is_change = !matches!(self.request, Request::Show | Request::Check(_));
        let answer = match self.request {
            Request::Show => Ok(Answer::Text(emit(running.config()))),
            Request::Edit(edit) => make(running, editor, &edit, now),
            Request::Check(text) => check(running, &text),
            Request::Apply(text) => apply(running, &text, now),
            Request::SetAnnounced { vip, announced } => set_announced(running, vip, announced, now),
            Request::Reload => reload(running).map_err(|error| match error {
                ReloadError::NoFile => Refusal::Conflict(error.to_string()),
                ReloadError::Config(_) => Refusal::Invalid(plain(&error.to_string())),
                ReloadError::Apply { .. } => Refusal::Conflict(plain(&error.to_string())),
            }),
        };
        let news = match &answer {
            Ok(Answer::Changed { what, .. }) if is_change => Some(what.clone()),
            _ => None,
        };
        if news.is_some() {
            wait(running);
        }
        // Nobody may be there any more to hear it.
        let _ = self.answer.send(answer);
        news
    }
}

fn make(running: &mut Running, editor: &mut Editor, edit: &Edit, now: Instant) -> Result<Answer, Refusal> {
    let config = editor.edit(running.config(), edit).map_err(|error| match &error {
        EditError::SeveralBackends { .. } => Refusal::Conflict(error.to_string()),
        error if error.is_missing() => Refusal::Missing(error.to_string()),
        error => Refusal::Invalid(error.to_string()),
    })?;
    let difference = running.apply(config, now).map_err(conflict)?;
    let what = if difference == Difference::default() { format!("{edit} already") } else { edit.to_string() };
    Ok(Answer::Changed { what, warnings: Vec::new() })
}

fn set_announced(running: &mut Running, vip: Option<IpAddr>, announced: bool, now: Instant) -> Result<Answer, Refusal> {
    let which = vip.map_or_else(|| "every VIP".to_owned(), |vip| format!("VIP {vip}"));
    let verb = if announced { "announced" } else { "withdrawn" };
    let done = |what| Answer::Changed { what, warnings: Vec::new() };
    match running.set_announced(vip, announced, now).map_err(conflict)? {
        Some(true) => Ok(done(format!("{which} is {verb}"))),
        Some(false) => Ok(done(format!("{which} is {verb} already"))),
        None => Err(Refusal::Missing(format!("{which} is no VIP of a service"))),
    }
}

fn apply(running: &mut Running, text: &[u8], now: Instant) -> Result<Answer, Refusal> {
    let Loaded { config, warnings } = load(running, text)?;
    let difference = running.apply(config, now).map_err(conflict)?;
    Ok(Answer::Changed { what: difference.to_string(), warnings })
}

fn check(running: &Running, text: &[u8]) -> Result<Answer, Refusal> {
    let Loaded { config, warnings } = load(running, text)?;
    let difference = running.compare(&config).map_err(conflict)?;
    Ok(Answer::Changed { what: difference.to_string(), warnings })
}

/// The configuration in `text`. Where leat listens, what it sends from and who it is are as they are: the command line that it was
/// started with may have said so, and neither can change.
fn load(running: &Running, text: &[u8]) -> Result<Loaded, Refusal> {
    let mut loaded = file::load("configuration", text).map_err(|failure| Refusal::Invalid(plain(&failure.message)))?;
    loaded.config.api = running.config().api.clone();
    loaded.config.mac = running.config().mac;
    loaded.config.user = running.config().user.clone();
    Ok(loaded)
}

fn conflict(error: ApplyError) -> Refusal {
    Refusal::Conflict(error.to_string())
}

/// Without the name of the program before each line.
fn plain(message: &str) -> String {
    message.lines().map(|line| line.strip_prefix("leat: ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}
