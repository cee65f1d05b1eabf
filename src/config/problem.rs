//! Complaints: where, about what, and in which words.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// How many complaints are printed at most.
const MOST_SHOWN: usize = 20;

/// Why the arguments or the file cannot be used. Print it on standard error and exit with status 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One line or more, each complaint starting with `leat: `, without a line feed at the end.
    pub message: String,
}

impl Failure {
    /// A failure with a single complaint.
    pub(super) fn new(complaint: impl fmt::Display) -> Self {
        Self { message: format!("leat: {complaint}") }
    }

    /// The same, said by another program that shares leat's command line: `leat: ` becomes its name.
    #[must_use]
    pub fn said_by(self, program: &str) -> Self {
        match self.message.strip_prefix("leat: ") {
            Some(complaint) => Self { message: format!("{program}: {complaint}") },
            None => self,
        }
    }
}

/// Where a value was written.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// On the command line: the option and what it was given, such as `--backend 10.0.0.2`.
    Argument(Rc<str>),
    /// In a file, this many bytes from its start.
    File { file: Rc<SourceText>, offset: usize },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(text) => f.write_str(text),
            Self::File { file, offset } => {
                let (line, column) = file.line_and_column(*offset);
                write!(f, "{}:{line}:{column}", file.name)
            }
        }
    }
}

/// The text of a file, to turn offsets into lines and columns, which is done only for what is complained about.
#[derive(Debug)]
pub(super) struct SourceText {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl SourceText {
    pub(super) fn new(name: &str, text: &str) -> Rc<Self> {
        let after_line_feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_line_feeds).collect();
        Rc::new(Self { name: name.to_owned(), text: text.to_owned(), line_starts })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn place(self: &Rc<Self>, offset: usize) -> Place {
        Place::File { file: Rc::clone(self), offset }
    }

    /// Both count from 1, columns in characters.
    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        (line, self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1)
    }
}

/// A value together with where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> At<T> {
    pub(super) fn new(value: T, place: &Place) -> Self {
        Self { value, place: place.clone() }
    }
}

/// The complaints about one configuration. All that can be found in one go are shown in one go.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<(Place, String)>>);

impl Problems {
    /// Notes a complaint. `context` is the thing that the value belongs to, such as `service "web"`, or empty.
    pub(super) fn report(&self, place: &Place, context: &str, message: impl fmt::Display) {
        let text = if context.is_empty() { message.to_string() } else { format!("{context}: {message}") };
        self.0.borrow_mut().push((place.clone(), text));
    }

    /// The value, or a complaint and nothing.
    pub(super) fn accept<T>(&self, result: Result<T, String>, place: &Place, context: &str) -> Option<T> {
        result.map_err(|message| self.report(place, context, message)).ok()
    }

    /// Fails with what was noted, in the order of the file.
    pub(super) fn into_result(self) -> Result<(), Failure> {
        let mut noted = self.0.into_inner();
        if noted.is_empty() {
            return Ok(());
        }
        noted.sort_by_key(|(place, _)| match place {
            Place::Argument(_) => 0,
            Place::File { offset, .. } => *offset,
        });
        let mut lines: Vec<String> =
            noted.iter().take(MOST_SHOWN).map(|(place, text)| format!("leat: {place}: {text}")).collect();
        if let Some(more @ 1..) = noted.len().checked_sub(MOST_SHOWN) {
            lines.push(format!("leat: and {more} more like these"));
        }
        Err(Failure { message: lines.join("\n") })
    }
}
