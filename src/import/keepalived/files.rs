//! Where included files come from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::file;

/// Reads included files, and finds those that a pattern means.
pub trait Files {
    /// The whole file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The files that match, in the order of their names. `pattern` has `*`, `?` and `[ ]` as shells have them.
    fn matching(&self, pattern: &str) -> Vec<PathBuf>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let bytes = file::read(path)?;
        if bytes.len() > file::MAX_SIZE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        // What cannot be listed matches nothing, and a pattern that is none is a name.
        glob::glob(pattern).map(|paths| paths.flatten().collect()).unwrap_or_default()
    }
}

/// The words that braces stand for: `{a,b}c` is `ac` and `bc`. A brace without its partner or a comma is itself. At most
/// `limit` are made.
pub(super) fn braces(pattern: &str, limit: usize) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(word) = open.pop() {
        match first_brace(&word) {
            Some((before, choices, after)) if done.len() + open.len() + choices.len() <= limit => {
                open.extend(choices.iter().rev().map(|choice| format!("{before}{choice}{after}")));
            }
            _ => done.push(word),
        }
    }
    done
}

/// What stands before the first braces that have a comma, their choices, and what stands after.
fn first_brace(word: &str) -> Option<(&str, Vec<&str>, &str)> {
    for (open, _) in word.match_indices('{') {
        let (mut depth, mut choices, mut start) = (0, Vec::new(), open + 1);
        for (at, letter) in word[open..].char_indices().map(|(at, letter)| (open + at, letter)) {
            match letter {
                '{' => depth += 1,
                ',' if depth == 1 => {
                    choices.push(&word[start..at]);
                    start = at + 1;
                }
                '}' if depth == 1 => {
                    if choices.is_empty() {
                        break;
                    }
                    choices.push(&word[start..at]);
                    return Some((&word[..open], choices, &word[at + 1..]));
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_each_of_their_choices() {
        assert_eq!(braces("a.conf", 99), ["a.conf"]);
        assert_eq!(braces("x{a,b}y", 99), ["xay", "xby"]);
        assert_eq!(braces("{a,{b,c}d}{,e}", 99), ["a", "ae", "bd", "bde", "cd", "cde"]);
        assert_eq!(braces("{a}{b,c", 99), ["{a}{b,c"]);
        assert!(braces(&"{a,b}".repeat(40), 99).len() <= 99);
    }
}
