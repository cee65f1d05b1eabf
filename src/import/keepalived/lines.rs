//! The lines of a keepalived.conf as its parser sees them: without comments, with parameters replaced, sequences and lists
//! written out, lines for other machines left out, and included files in their places.
//!
//! keepalived.conf(5), "Conditional configuration", "Parameter substitution", "Sequence blocks", "List blocks" and the
//! directive `include`. All of it is bounded, in time and in space, whatever the file says.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::note::{Fate, Note, Place};
use super::files::{self, Files};
use super::repeat;
use crate::config::Failure;

/// Included files inside of each other.
const DEEPEST: usize = 16;

/// Bytes of all that is read and made.
const MOST_BYTES: usize = 64 << 20;

/// What a line counts beside its bytes: there are at most a million.
const BYTES_OF_A_LINE: usize = 64;

/// Bytes of a line, after replacement; keepalived takes 1,024.
const LONGEST_LINE: usize = 64 << 10;

/// Replacements of a line, one inside of another.
const MOST_ROUNDS: usize = 100;

/// Files that one `include` can mean.
const MOST_FILES: usize = 4096;

/// A line with its own place: for what a parameter or a sequence has made, where that was used.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) text: Rc<str>,
}

/// Everything that [`Lines::all`] gives.
pub(super) struct Read {
    pub(super) lines: Vec<Line>,
    pub(super) notes: Vec<Note>,
}

/// Reads a file, line by line.
pub(super) struct Lines<'f> {
    files: &'f dyn Files,
    config_id: Option<&'f str>,
    /// What is being read; the last one first.
    sources: Vec<Source>,
    parameters: HashMap<String, Rc<str>>,
    notes: Vec<Note>,
    bytes: usize,
}

enum Source {
    File { name: Rc<str>, folder: PathBuf, path: PathBuf, text: String, offset: usize, line: usize },
    Made(VecDeque<Made>),
}

/// What a parameter, a sequence or a list stands for.
pub(super) enum Made {
    Define(String, Rc<str>),
    Line(Line),
}

impl<'f> Lines<'f> {
    /// All lines of `text`, which is the file at `path`.
    pub(super) fn all(
        name: &str,
        path: &Path,
        text: String,
        files: &'f dyn Files,
        config_id: Option<&'f str>,
    ) -> Result<Read, Failure> {
        let mut reader = Self {
            files,
            config_id,
            sources: vec![Source::of_file(name, path, text)],
            parameters: HashMap::new(),
            notes: Vec::new(),
            bytes: 0,
        };
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line()? {
            lines.extend(reader.understand(line)?);
        }
        Ok(Read { lines, notes: reader.notes })
    }

    /// The next line of what is being read, without its comment: empty if it was, and passed over if it is a comment only.
    fn next_line(&mut self) -> Result<Option<Line>, Failure> {
        while let Some(source) = self.sources.last_mut() {
            let line = match source {
                Source::File { name, text, offset, line, .. } => {
                    let rest = &text[*offset..];
                    (!rest.is_empty()).then(|| {
                        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
                        *offset += length;
                        *line += 1;
                        let place = Place { file: Rc::clone(name), line: *line };
                        let text = without_comment(&place, &rest[..length]);
                        text.map(|text| text.map(|text| Line { place, text: text.into() })).transpose()
                    })
                }
                Source::Made(made) => match made.pop_front() {
                    Some(Made::Define(name, value)) => {
                        self.parameters.insert(name, value);
                        continue;
                    }
                    Some(Made::Line(line)) => Some(Some(Ok(line))),
                    None => None,
                },
            };
            let Some(line) = line else {
                self.sources.pop();
                continue;
            };
            let Some(line) = line.transpose()? else { continue };
            self.charge(line.text.len() + BYTES_OF_A_LINE, &line.place)?;
            return Ok(Some(line));
        }
        Ok(None)
    }

    /// Counts what has been read or made.
    fn charge(&mut self, bytes: usize, place: &Place) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= MOST_BYTES {
            return Ok(());
        }
        Err(place.failure(format_args!(
            "the configuration is longer than {} MiB with its included files and its parameters replaced; write less",
            MOST_BYTES >> 20
        )))
    }

    /// The line, ready for its words, unless it is for the reader itself.
    fn understand(&mut self, line: Line) -> Result<Option<Line>, Failure> {
        let Line { place, text } = line;
        let mut text = text.trim().to_owned();
        for _ in 0..MOST_ROUNDS {
            if let Some(condition) = text.strip_prefix('@') {
                let Some(rest) = self.meant_for_this_machine(&place, condition) else { return Ok(None) };
                text = rest.trim_start().to_owned();
                continue;
            }
            if let Some((name, value)) = definition(&text) {
                self.define(name.to_owned(), value)?;
                return Ok(None);
            }
            if text.starts_with("~SEQ") || text.starts_with("~LST") {
                // The limits of a sequence may be parameters; the line that it repeats is replaced later.
                let end = text.find(')').map_or(text.len(), |end| end + 1);
                let (head, rest) = text.split_at(end);
                let head = self.replace(&place, head)?.unwrap_or_else(|| head.to_owned());
                let made = repeat::repeat(&head, rest, &place).map_err(|reason| place.failure(reason))?;
                self.sources.push(Source::Made(made.into()));
                return Ok(None);
            }
            let replaced = self.replace(&place, &text)?;
            self.charge(replaced.as_ref().map_or(0, String::len), &place)?;
            match replaced {
                None => break,
                Some(replaced) if replaced.contains('\n') => {
                    let lines =
                        replaced.split('\n').map(|text| Made::Line(Line { place: place.clone(), text: text.into() }));
                    self.sources.push(Source::Made(lines.collect()));
                    return Ok(None);
                }
                Some(replaced) => text = replaced.trim().to_owned(),
            }
        }
        if self.replace(&place, &text)?.is_some() {
            return Err(place.failure("a parameter stands for itself, without an end; write a value without it"));
        }
        if let Some((strict, pattern)) = include(&text) {
            self.include(&place, strict, pattern)?;
            return Ok(None);
        }
        // A backslash at the end means something in definitions only.
        let text = text.strip_suffix('\\').unwrap_or(&text).trim_end();
        Ok((!text.is_empty()).then(|| Line { place, text: text.into() }))
    }

    /// What follows `@ID` or `@^ID`, if the line is for the machine that was named.
    fn meant_for_this_machine<'t>(&mut self, place: &Place, condition: &'t str) -> Option<&'t str> {
        let (id, rest) = condition.split_once([' ', '\t'])?;
        let Some(config_id) = self.config_id else {
            let reason = "it is for some machines only; say which one is meant by --config-id ID";
            self.notes.push(Note::new(place, format_args!("@{condition}"), Fate::LeftOut, reason));
            return None;
        };
        let is_meant = match id.strip_prefix('^') {
            Some(other) => other != config_id,
            None => id == config_id,
        };
        is_meant.then_some(rest)
    }

    /// A definition goes on while its lines end with a backslash.
    fn define(&mut self, name: String, value: &str) -> Result<(), Failure> {
        let mut whole = String::new();
        let mut part: Rc<str> = value.into();
        loop {
            let more = part.strip_suffix('\\');
            let line = more.unwrap_or(&part).trim();
            if !line.is_empty() {
                if !whole.is_empty() {
                    whole.push('\n');
                }
                whole.push_str(line);
            }
            if more.is_none() {
                break;
            }
            // An empty line ends it, as the end of the file does.
            match self.next_line()? {
                Some(next) if !next.text.is_empty() => part = next.text.trim().into(),
                _ => break,
            }
        }
        self.parameters.insert(name, whole.into());
        Ok(())
    }

    /// The text with every parameter replaced once, or `None` if there is none in it.
    fn replace(&self, place: &Place, text: &str) -> Result<Option<String>, Failure> {
        let mut replaced = String::new();
        let (mut rest, mut any) = (text, false);
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            replaced.push_str(before);
            match parameter(from).and_then(|(name, length)| Some((self.value(name)?, length))) {
                Some((value, length)) => {
                    any = true;
                    replaced.push_str(&value);
                    rest = &from[length..];
                }
                None => {
                    replaced.push('$');
                    rest = &from[1..];
                }
            }
            if replaced.len() > LONGEST_LINE {
                return Err(place.failure(format_args!(
                    "the line is longer than {} KiB when its parameters are replaced; write less",
                    LONGEST_LINE >> 10
                )));
            }
        }
        replaced.push_str(rest);
        Ok(any.then_some(replaced))
    }

    fn value(&self, name: &str) -> Option<Rc<str>> {
        if let Some(value) = self.parameters.get(name) {
            return Some(Rc::clone(value));
        }
        match name {
            "_PWD" => Some(self.folder().display().to_string().into()),
            "_INSTANCE" => self.config_id.map(Into::into),
            "_HASH" => Some("#".into()),
            "_BANG" => Some("!".into()),
            _ => None,
        }
    }

    /// The folder of the file that is being read.
    fn folder(&self) -> PathBuf {
        let folder = self.sources.iter().rev().find_map(|source| match source {
            Source::File { folder, .. } => Some(folder.clone()),
            Source::Made(_) => None,
        });
        folder.unwrap_or_default()
    }

    fn include(&mut self, place: &Place, strict: bool, pattern: &str) -> Result<(), Failure> {
        let depth = self.sources.iter().filter(|source| matches!(source, Source::File { .. })).count();
        if depth > DEEPEST {
            return Err(place.failure(format_args!("more than {DEEPEST} files include each other; write fewer")));
        }
        let folder = self.folder();
        let mut paths = Vec::new();
        for word in files::braces(pattern, MOST_FILES) {
            let joined = folder.join(&word);
            if word.contains(['*', '?', '[']) {
                paths.extend(joined.to_str().map(|pattern| self.files.matching(pattern)).unwrap_or_default());
            } else {
                paths.push(joined);
            }
        }
        let mut included = Vec::new();
        let mut missing = paths.is_empty().then(|| "no file matches".to_owned());
        for path in paths.into_iter().take(MOST_FILES) {
            let is_open = |source: &Source| matches!(source, Source::File { path: open, .. } if *open == path);
            if self.sources.iter().any(is_open) {
                return Err(place.failure(format_args!("{} includes itself; leave one include out", path.display())));
            }
            match self.files.read(&path) {
                Ok(bytes) => {
                    self.charge(bytes.len(), place)?;
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    included.push(Source::of_file(&path.display().to_string(), &path, text));
                }
                Err(error) => missing = Some(format!("{} cannot be read: {error}", path.display())),
            }
        }
        // The last one is read first.
        self.sources.extend(included.into_iter().rev());
        match missing {
            Some(reason) if strict => Err(place.failure(format_args!("{pattern}: {reason}; write the name of a file"))),
            Some(reason) => {
                self.notes.push(Note::new(place, format_args!("include {pattern}"), Fate::LeftOut, reason));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Source {
    fn of_file(name: &str, path: &Path, text: String) -> Self {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Self::File { name: name.into(), folder, path: path.to_owned(), text, offset: 0, line: 0 }
    }
}

/// The line up to an unquoted `#` or `!`, or nothing if that is all of it. A backslash before them takes their meaning.
fn without_comment(place: &Place, line: &str) -> Result<Option<String>, Failure> {
    let mut kept = String::new();
    let mut quoted = false;
    let line = line.trim_end_matches(['\n', '\r']);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '#' | '!' if !quoted => break,
            '\\' => match letters.next() {
                Some(mark @ ('#' | '!')) if !quoted => {
                    kept.push(mark);
                    continue;
                }
                Some(next) => {
                    kept.extend([letter, next]);
                    continue;
                }
                None => {}
            },
            _ => {}
        }
        kept.push(letter);
    }
    if quoted {
        return Err(place.failure("a \" has no other that ends the quotation; write both on one line"));
    }
    kept.truncate(kept.trim_end().len());
    Ok((!kept.is_empty() || line.is_empty()).then_some(kept))
}

/// `$NAME=VALUE`.
fn definition(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('$')?;
    let length = name_length(rest)?;
    let value = rest[length..].trim_start().strip_prefix('=')?;
    Some((&rest[..length], value.trim_start()))
}

/// The name of the parameter at the start of `text`, which begins with `$`, and how long its mention is.
fn parameter(text: &str) -> Option<(&str, usize)> {
    let bare = &text[1..];
    if let Some(inside) = bare.strip_prefix('{') {
        let length = name_length(inside)?;
        return inside[length..].starts_with('}').then(|| (&inside[..length], length + 3));
    }
    let length = name_length(bare)?;
    let ends = bare[length..].chars().next().is_none_or(|next| [' ', '\t', ',', ')'].contains(&next));
    ends.then(|| (&bare[..length], length + 1))
}

fn name_length(text: &str) -> Option<usize> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let length = text.find(|letter| !is_of_name(letter)).unwrap_or(text.len());
    text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_').then_some(length)
}

/// Whether the line is an `include`, whether its files must be there, and which they are.
fn include(text: &str) -> Option<(bool, &str)> {
    let rest = text.strip_prefix("include")?;
    let (strict, rest) = match rest.strip_prefix(['r', 'm', 'w', 'b', 'a']) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    rest.starts_with([' ', '\t']).then(|| (strict, rest.trim().trim_matches('"')))
}
