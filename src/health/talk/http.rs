//! What is asked by HTTP, and whether the answer is right.
//!
//! The request is one of HTTP/1.0 (RFC 1945) with a `Host`: its answer comes in one piece, not in chunks, and ends with the
//! connection.

use std::net::IpAddr;

use crate::config::HttpCheck;

/// Bytes of an answer that are looked at.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// Header fields of an answer.
const MOST_FIELDS: usize = 64;

/// What is thought of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// More has to come.
    Undecided,
    /// It is as it should be.
    Right,
    /// It is not, and why.
    Wrong(String),
}

/// The request that `check` makes of the server at this address.
pub(super) fn request(check: &HttpCheck, address: IpAddr, port: u16) -> Vec<u8> {
    let host = check.host.clone().unwrap_or_else(|| match port {
        80 => Host(address).to_string(),
        port => format!("{}:{port}", Host(address)),
    });
    let version = env!("CARGO_PKG_VERSION");
    let HttpCheck { path, .. } = check;
    format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: leat/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// An address as it stands in a URI: one of IPv6 in brackets (RFC 3986 §3.2.2).
struct Host(IpAddr);

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// What `check` says of `answer`, which is all that has come so far, and all that will if it `is_all`.
pub(super) fn judge(check: &HttpCheck, answer: &[u8], is_all: bool) -> Judgement {
    let wrong = |what: &str| Judgement::Wrong(what.to_owned());
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let is_all = is_all || answer.len() >= MOST_BYTES;
    let head = match response.parse(answer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if !is_all => return Judgement::Undecided,
        Ok(httparse::Status::Partial) if answer.is_empty() => return wrong("closed the connection without an answer"),
        Ok(httparse::Status::Partial) => return wrong("an answer that ends in its header"),
        Err(error) => return wrong(&format!("an answer that is not HTTP: {error}")),
    };
    let status = response.code.unwrap_or_default();
    if !check.status.iter().any(|range| (range.first..=range.last).contains(&status)) {
        return wrong(&format!("status {status}"));
    }
    let Some(wanted) = &check.body else { return Judgement::Right };
    let body = &answer[head..];
    if body.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
        Judgement::Right
    } else if is_all {
        wrong(&format!("status {status}, but the body does not contain {wanted:?}"))
    } else {
        Judgement::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StatusRange;

    fn check(body: Option<&str>) -> HttpCheck {
        HttpCheck {
            path: "/health?x=1".to_owned(),
            host: None,
            status: vec![StatusRange { first: 200, last: 299 }, StatusRange { first: 404, last: 404 }],
            body: body.map(str::to_owned),
        }
    }

    #[test]
    fn a_request_names_the_path_and_the_host() {
        let text = String::from_utf8(request(&check(None), [10, 0, 0, 2].into(), 8080)).unwrap();
        assert!(text.starts_with("GET /health?x=1 HTTP/1.0\r\nHost: 10.0.0.2:8080\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
        let named = HttpCheck { host: Some("www.example.com".to_owned()), ..check(None) };
        let text = String::from_utf8(request(&named, [10, 0, 0, 2].into(), 80)).unwrap();
        assert!(text.contains("\r\nHost: www.example.com\r\n"), "{text}");
    }

    #[test]
    fn the_answer_decides() {
        use Judgement::{Right, Undecided};
        let wrong = |what: &str| Judgement::Wrong(what.to_owned());
        for (body, answer, is_all, expected) in [
            (None, "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", false, Right),
            (None, "HTTP/1.0 404 Not Found\r\n\r\n", false, Right),
            (None, "HTTP/1.1 503 Service Unavailable\r\n\r\n", false, wrong("status 503")),
            (None, "HTTP/1.1 301 Moved\r\n\r\n", false, wrong("status 301")),
            (None, "", false, Undecided),
            (None, "HTTP/1.1 200 O", false, Undecided),
            (None, "HTTP/1.1 200 O", true, wrong("an answer that ends in its header")),
            (None, "", true, wrong("closed the connection without an answer")),
            (None, "220 mail.example.com ESMTP\r\n", false, wrong("an answer that is not HTTP: invalid HTTP version")),
            (Some("ok"), "HTTP/1.1 200 OK\r\n\r\nall is ok here", false, Right),
            (Some("ok"), "HTTP/1.1 200 OK\r\n\r\nall is o", false, Undecided),
            (
                Some("ok"),
                "HTTP/1.1 200 OK\r\nX: ok\r\n\r\nno",
                true,
                wrong("status 200, but the body does not contain \"ok\""),
            ),
        ] {
            assert_eq!(judge(&check(body), answer.as_bytes(), is_all), expected, "{answer:?}");
        }
    }

    #[test]
    fn no_answer_is_too_strange() {
        for len in 0..300 {
            let noise: Vec<u8> = (0..len).map(|at| (at * 37 % 256) as u8).collect();
            judge(&check(Some("ok")), &noise, true);
        }
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; MOST_BYTES]].concat();
        assert!(matches!(judge(&check(Some("ok")), &long, false), Judgement::Wrong(_)));
    }
}
