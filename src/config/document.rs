//! A TOML document whose every key and value knows its line: asked key by key, it complains by itself about wrong types
//! and, in the end, about the keys that nobody asked for.
//!
//! It works on the tree of the `toml` crate rather than through serde, for three reasons: a document's mistakes are
//! shown together and not one at a time, a message can name the service that it is about, and the keys that are known
//! are exactly those that the code asks for, so a suggestion can never name one that is not.

use std::cell::RefCell;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{At, Failure, Place, Problems, SourceText};
use super::value;

/// Parses the text.
///
/// # Errors
/// Every mistake of syntax.
pub(super) fn parse(text: &Rc<SourceText>) -> Result<Spanned<DeTable<'_>>, Failure> {
    let (table, errors) = DeTable::parse_recoverable(text.text());
    let problems = Problems::default();
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.report(&text.place(offset), "", format_args!("not TOML: {}", error.message().replace('\n', ", ")));
    }
    problems.into_result().map(|()| table)
}

/// One table of the document.
pub(super) struct Table<'a> {
    text: &'a Rc<SourceText>,
    problems: &'a Problems,
    entries: &'a DeTable<'a>,
    /// What messages call it; empty for the document itself.
    context: String,
    place: Place,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// The document itself.
    pub(super) fn root(text: &'a Rc<SourceText>, problems: &'a Problems, document: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(text, problems, document.get_ref(), String::new(), text.place(document.span().start))
    }

    fn new(
        text: &'a Rc<SourceText>,
        problems: &'a Problems,
        entries: &'a DeTable<'a>,
        context: String,
        place: Place,
    ) -> Self {
        Self { text, problems, entries, context, place, asked: RefCell::default() }
    }

    /// Gives the table a better name for messages, once more is known of it.
    pub(super) fn call(&mut self, context: String) {
        self.context = context;
    }

    pub(super) fn context(&self) -> &str {
        &self.context
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn complain(&self, place: &Place, message: impl std::fmt::Display) {
        self.problems.report(place, &self.context, message);
    }

    /// The string under `key`.
    pub(super) fn string(&self, key: &'static str) -> Option<At<String>> {
        let entry = self.entry(key)?;
        self.string_of(key, entry)
    }

    /// Complains if `key` is absent.
    pub(super) fn demand(&self, key: &str, example: &str) {
        if !self.entries.contains_key(key) {
            self.complain(&self.place, format_args!("{key} is missing; write {key} = {example}"));
        }
    }

    /// The whole number under `key`.
    pub(super) fn integer(&self, key: &'static str) -> Option<At<i128>> {
        let entry = self.entry(key)?;
        self.integer_of(key, entry)
    }

    /// Whether `key` is true or false.
    pub(super) fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        let entry = self.entry(key)?;
        let DeValue::Boolean(value) = entry.get_ref() else {
            self.wrong_type(key, "true or false", entry);
            return None;
        };
        Some(At::new(*value, &self.text.place(entry.span().start)))
    }

    /// The string or the whole number under `key`.
    pub(super) fn string_or_integer(&self, key: &'static str) -> Option<Result<At<String>, At<i128>>> {
        let entry = self.entry(key)?;
        match entry.get_ref() {
            DeValue::String(_) => self.string_of(key, entry).map(Ok),
            DeValue::Integer(_) => self.integer_of(key, entry).map(Err),
            _ => {
                self.wrong_type(key, "a string or a whole number", entry);
                None
            }
        }
    }

    /// The list of strings under `key`; empty when it is absent.
    pub(super) fn strings(&self, key: &'static str) -> Vec<At<String>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let DeValue::Array(items) = entry.get_ref() else {
            self.wrong_type(key, "a list of strings in [ ]", entry);
            return Vec::new();
        };
        items.iter().filter_map(|item| self.string_of(key, item)).collect()
    }

    /// The table under `key`.
    pub(super) fn table(&self, key: &'static str, context: String) -> Option<Table<'a>> {
        let entry = self.entry(key)?;
        let DeValue::Table(entries) = entry.get_ref() else {
            self.wrong_type(key, "a table", entry);
            return None;
        };
        Some(Self::new(self.text, self.problems, entries, context, self.text.place(entry.span().start)))
    }

    /// The tables of the array under `key`, each named by `context` from its number, which counts from 1.
    pub(super) fn tables(&self, key: &'static str, context: impl Fn(usize) -> String) -> Vec<Table<'a>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let DeValue::Array(items) = entry.get_ref() else {
            self.wrong_type(key, "a list of tables", entry);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(entries) => {
                    let place = self.text.place(item.span().start);
                    tables.push(Self::new(self.text, self.problems, entries, context(index + 1), place));
                }
                _ => self.wrong_type(key, "a list of tables", item),
            }
        }
        tables
    }

    /// Complains about the keys that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            let place = self.text.place(key.span().start);
            if asked.contains(&name) {
                continue;
            }
            let advice = match value::nearest(name, asked.iter().copied()) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("the keys here are {}", value::list(asked.iter().copied(), "and")),
            };
            self.complain(&place, format_args!("unknown key {}; {advice}", name.escape_debug()));
        }
    }

    fn entry(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.entries.get(key)
    }

    fn string_of(&self, key: &str, entry: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        let place = self.text.place(entry.span().start);
        match entry.get_ref() {
            DeValue::String(string) => Some(At::new(string.to_string(), &place)),
            _ => {
                self.wrong_type(key, "a string in \" \"", entry);
                None
            }
        }
    }

    fn integer_of(&self, key: &str, entry: &Spanned<DeValue<'_>>) -> Option<At<i128>> {
        let place = self.text.place(entry.span().start);
        let DeValue::Integer(digits) = entry.get_ref() else {
            self.wrong_type(key, "a whole number", entry);
            return None;
        };
        // Longer than i128 is out of every key's range, so the nearest end of i128 gives the right message.
        let saturated = if digits.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
        Some(At::new(i128::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(saturated), &place))
    }

    fn wrong_type(&self, key: &str, wanted: &str, entry: &Spanned<DeValue<'_>>) {
        let found = match entry.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let hint = match (entry.get_ref(), wanted) {
            (DeValue::Table(_), "a list of tables") => format!("; write [[{key}]], with two brackets"),
            _ => String::new(),
        };
        let place = self.text.place(entry.span().start);
        self.complain(&place, format_args!("{key} must be {wanted}, not {found}{hint}"));
    }
}
