//! The rules of what happens when something is missing: a backend that fails, a connection that is not known.

use super::super::draft::DraftService;
use super::super::problem::Problems;
use super::super::value;
use super::checked;
use crate::service::{Mode, NoConnection, OnFailure};

/// What becomes of a failed backend's connections.
pub(super) fn on_failure(draft: &DraftService, mode: Mode, problems: &Problems) -> Option<OnFailure> {
    let known = [OnFailure::Keep, OnFailure::Move, OnFailure::Reset].map(|what| (what.name(), what));
    checked(problems, &draft.context, &draft.extras.on_failure, OnFailure::default(), |text| {
        match value::choice("on_failure", text, &known, &[])? {
            OnFailure::Move if mode == Mode::Fullnat => Err(
                "on_failure \"move\" is for nat and the one-way modes, and the mode is fullnat, whose connections have \
                 a source port at their backend; write keep or reset"
                    .to_owned(),
            ),
            what => Ok(what),
        }
    })
}

/// What becomes of a segment without SYN that belongs to no connection.
pub(super) fn no_connection(draft: &DraftService, mode: Mode, problems: &Problems) -> Option<NoConnection> {
    let known = [NoConnection::Drop, NoConnection::Reset, NoConnection::Schedule].map(|what| (what.name(), what));
    checked(problems, &draft.context, &draft.extras.no_connection, NoConnection::default_of(mode), |text| {
        match value::choice("no_connection", text, &known, &[])? {
            NoConnection::Schedule if mode == Mode::Fullnat => {
                Err("no_connection \"schedule\" in mode fullnat is not in this version; drop and reset are".to_owned())
            }
            what => Ok(what),
        }
    })
}
