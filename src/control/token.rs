//! The token that clients of the API show where it listens on TCP.

use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The shortest that is taken, in bytes.
const SHORTEST: usize = 16;
/// The longest.
const LONGEST: usize = 512;

/// Why a file is none of a token.
#[derive(Debug, thiserror::Error)]
#[error("api_token_file: {path}: {problem}")]
pub struct TokenError {
    path: String,
    problem: String,
}

/// A secret. It is not shown in any message.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token in the file at `path`, without spaces around it.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it is not one line of 16 to 512 visible ASCII characters.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |problem: String| TokenError { path: path.display().to_string(), problem };
        let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
        let token = bytes.trim_ascii();
        let is_right = (SHORTEST..=LONGEST).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
        if !is_right {
            return Err(failed(format!(
                "a token is one line of {SHORTEST} to {LONGEST} letters, digits and signs; `openssl rand -hex 32` makes one"
            )));
        }
        Ok(Self(token.into()))
    }

    /// Whether `header`, as `Authorization` has it (RFC 6750 §2.1), shows it. It takes as long whatever is wrong.
    pub fn is_shown_by(&self, header: &[u8]) -> bool {
        let Some((scheme, shown)) = header.split_at_checked("Bearer ".len()) else { return false };
        let differences = shown.iter().zip(self.0.iter()).fold(0, |sum, (a, b)| sum | (a ^ b));
        scheme.eq_ignore_ascii_case(b"Bearer ") && shown.len() == self.0.len() && differences == 0
    }

    /// It, as a client sends it.
    pub fn header(&self) -> String {
        format!("Bearer {}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Token, TokenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Token::read(file.path())
    }

    #[test]
    fn only_the_whole_token_opens() {
        let token = read("  0123456789abcdef\n").unwrap();
        assert!(token.is_shown_by(b"Bearer 0123456789abcdef") && token.is_shown_by(token.header().as_bytes()));
        assert!(token.is_shown_by(b"bearer 0123456789abcdef"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"]
        {
            assert!(!token.is_shown_by(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn what_is_no_token_is_refused_by_its_path() {
        for text in
            ["", "short", "two words of sixteen letters", &"x".repeat(513), "0123456789abcdef\n0123456789abcdef"]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("api_token_file: ") && error.contains("16 to 512"), "{error}");
        }
        let error = Token::read(Path::new("/nothing/here")).unwrap_err().to_string();
        assert!(error.starts_with("api_token_file: /nothing/here: No such file"), "{error}");
    }
}
