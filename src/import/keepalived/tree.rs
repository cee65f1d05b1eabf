//! Lines in, directives out: the words of each, and the block that follows it.

use super::super::note::Place;
use super::lines::Line;
use crate::config::Failure;

/// Blocks inside of each other; keepalived needs five.
const DEEPEST: usize = 32;

/// A keyword, its values, and the block after it.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) place: Place,
    /// At least the keyword.
    pub(super) words: Vec<String>,
    /// Empty where there is no block, too.
    pub(super) block: Vec<Directive>,
    pub(super) has_block: bool,
}

impl Directive {
    fn new(place: &Place, words: Vec<String>) -> Self {
        Self { place: place.clone(), words, block: Vec::new(), has_block: false }
    }

    /// The keyword.
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// What follows the keyword.
    pub(super) fn values(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

/// The directives of a whole configuration.
pub(super) fn parse(lines: &[Line]) -> Result<Vec<Directive>, Failure> {
    // The first one is the configuration itself.
    let mut open: Vec<Vec<Directive>> = vec![Vec::new()];
    for line in lines {
        let mut words = Vec::new();
        let place = &line.place;
        for token in tokens(place, &line.text)? {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    let siblings = innermost(&mut open);
                    if !words.is_empty() {
                        siblings.push(Directive::new(place, std::mem::take(&mut words)));
                    }
                    match siblings.last_mut() {
                        Some(owner) if !owner.has_block => owner.has_block = true,
                        _ => return Err(place.failure("a { has no keyword before it; write KEYWORD {")),
                    }
                    if open.len() > DEEPEST {
                        return Err(
                            place.failure(format_args!("more than {DEEPEST} blocks inside of each other; close some"))
                        );
                    }
                    open.push(Vec::new());
                }
                Token::Close => {
                    if !words.is_empty() {
                        innermost(&mut open).push(Directive::new(place, std::mem::take(&mut words)));
                    }
                    let closed = open.pop().unwrap_or_default();
                    match open.last_mut().and_then(|siblings| siblings.last_mut()) {
                        Some(owner) => owner.block = closed,
                        None => return Err(place.failure("a } has no { before it; leave it out")),
                    }
                }
            }
        }
        if !words.is_empty() {
            innermost(&mut open).push(Directive::new(place, words));
        }
    }
    if open.len() > 1 {
        let owner = open.iter().rev().nth(1).and_then(|siblings| siblings.last());
        let (Some(owner), Some(_)) = (owner, lines.last()) else { return Ok(Vec::new()) };
        return Err(owner
            .place
            .failure(format_args!("the block of {} has no }} that ends it; write one", owner.words.join(" "))));
    }
    Ok(open.pop().unwrap_or_default())
}

/// There is always one: a block is closed only where another is around it.
fn innermost(open: &mut Vec<Vec<Directive>>) -> &mut Vec<Directive> {
    if open.is_empty() {
        open.push(Vec::new());
    }
    let last = open.len() - 1;
    &mut open[last]
}

enum Token {
    Word(String),
    Open,
    Close,
}

/// Words are apart by spaces; in quotes a space or a brace is a letter, and a backslash keeps the letter after it.
fn tokens(place: &Place, text: &str) -> Result<Vec<Token>, Failure> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => {
                let word = word.get_or_insert_default();
                match letters.next() {
                    Some(mark @ ('"' | '\\')) => word.push(mark),
                    next => {
                        word.push('\\');
                        word.extend(next);
                    }
                }
            }
            '{' | '}' if !quoted => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(if letter == '{' { Token::Open } else { Token::Close });
            }
            letter if letter.is_whitespace() && !quoted => tokens.extend(word.take().map(Token::Word)),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    if quoted {
        return Err(place.failure("a \" has no other that ends the quotation; write both on one line"));
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Directive>, Failure> {
        let line = |(index, text): (usize, &str)| Line {
            place: Place { file: "x".into(), line: index + 1 },
            text: text.into(),
        };
        parse(&text.lines().enumerate().map(line).collect::<Vec<_>>())
    }

    fn shape(directives: &[Directive]) -> String {
        let one = |directive: &Directive| {
            let block = if directive.has_block { format!("{{{}}}", shape(&directive.block)) } else { String::new() };
            format!("{}{block}", directive.words.join("|"))
        };
        directives.iter().map(one).collect::<Vec<_>>().join(";")
    }

    #[test]
    fn a_brace_may_stand_anywhere_around_its_block() {
        for text in ["a b {\n c d\n}\ne", "a b\n{\n c d }\ne", "a b{c d}e", "a b { c d } e"] {
            assert_eq!(shape(&parsed(text).unwrap()), "a|b{c|d};e", "{text}");
        }
        assert_eq!(shape(&parsed("a {}").unwrap()), "a{}");
    }

    #[test]
    fn quotes_join_words_and_hide_braces() {
        assert_eq!(shape(&parsed(r#"a "b c { }" d"e f"g "" "q\"w\d""#).unwrap()), r#"a|b c { }|de fg||q"w\d"#);
    }

    #[test]
    fn braces_without_a_partner_are_refused_with_their_line() {
        for (text, says) in [
            ("a {\nb {\n}", "x:1: the block of a has no }"),
            ("a\n}", "x:2: a } has no {"),
            ("{", "x:1: a { has no keyword"),
            ("a {\n}\n{", "x:3: a { has no keyword"),
            ("a \"b", "x:1: a \" has no other"),
        ] {
            let failure = parsed(text).unwrap_err();
            assert!(failure.message.contains(says), "{text}: {failure}");
        }
        assert!(parsed(&"a { ".repeat(1000)).unwrap_err().message.contains("more than 32 blocks"));
    }
}
