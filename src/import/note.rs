//! What is said about the input: where, about what, what became of it, and why.

use std::fmt;
use std::rc::Rc;

use crate::config::Failure;

/// A line of the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// What messages call the file.
    pub(super) file: Rc<str>,
    /// Counts from 1.
    pub(super) line: usize,
}

impl Place {
    /// A failure at this line.
    pub(super) fn failure(&self, what: impl fmt::Display) -> Failure {
        failure(format_args!("{self}: {what}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", printable(&self.file), self.line)
    }
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// It is not in the produced file.
    LeftOut,
    /// It is there, and means something else.
    Changed,
    /// Somebody has to do something.
    ToDo,
}

/// One remark, a line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Note {
    pub(super) place: Place,
    /// The virtual server and what in it, as the input names them.
    pub(super) about: String,
    pub(super) fate: Fate,
    pub(super) reason: String,
}

impl Note {
    pub(super) fn new(place: &Place, about: impl fmt::Display, fate: Fate, reason: impl fmt::Display) -> Self {
        Self { place: place.clone(), about: about.to_string(), fate, reason: reason.to_string() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = match self.fate {
            Fate::LeftOut => "left out",
            Fate::Changed => "changed",
            Fate::ToDo => "to do",
        };
        write!(f, "{}: {}: {fate}: {}", self.place, printable(&self.about), printable(&self.reason))
    }
}

/// A failure in leatctl's name.
pub(super) fn failure(complaint: impl fmt::Display) -> Failure {
    Failure { message: format!("leatctl: {}", printable(&complaint.to_string())) }
}

/// Text of the input in one line, without what would move a terminal's cursor or end a comment.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut shown: String =
        text.chars().take(LONGEST).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_stays_on_its_line_whatever_the_input_holds() {
        let place = Place { file: "a\nb".into(), line: 3 };
        let note = Note::new(&place, "x\u{1b}[2J", Fate::LeftOut, "y\r\nz");
        assert_eq!(note.to_string(), "a\u{fffd}b:3: x\u{fffd}[2J: left out: y\u{fffd}\u{fffd}z");
    }
}
