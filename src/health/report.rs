//! What is thought of the probed backends, for everyone who reads.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::config::{HealthKind, show_duration};
use crate::id::BackendId;
use crate::time::Instant;

/// What a backend is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// ARP.
    Arp,
    /// A neighbour solicitation: what ARP is in IPv4.
    Solicitation,
    /// A ping.
    Ping,
    /// A TCP connection.
    Tcp,
    /// An HTTP request.
    Http,
}

/// Why a backend is taken as up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No probe was decided yet.
    Unproven,
    /// It answers probes.
    Answers(Question),
    /// It does not.
    Silent {
        /// What it did not answer.
        question: Question,
        /// How long each answer was awaited.
        timeout: Duration,
        /// How many answers in a row were missing.
        times: u8,
    },
    /// It answers, and not as it should; or it does not.
    Fails {
        /// What was wrong last.
        what: Arc<str>,
        /// How many times in a row something was.
        times: u8,
    },
}

impl Question {
    /// How probes of type `kind` ask a backend at `address`.
    pub(super) const fn of(kind: HealthKind, address: IpAddr) -> Self {
        match (kind, address) {
            (HealthKind::Arp, IpAddr::V4(_)) => Self::Arp,
            (HealthKind::Arp, IpAddr::V6(_)) => Self::Solicitation,
            (HealthKind::Icmp, _) => Self::Ping,
            (HealthKind::Tcp, _) => Self::Tcp,
            (HealthKind::Http, _) => Self::Http,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arp => "ARP",
            Self::Solicitation => "neighbour solicitation",
            Self::Ping => "ping",
            Self::Tcp => "TCP",
            Self::Http => "HTTP",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_a_row = |f: &mut fmt::Formatter<'_>, times: u8| {
            if times > 1 { write!(f, ", {times} times in a row") } else { Ok(()) }
        };
        match self {
            Self::Unproven => f.write_str("not proven yet"),
            Self::Answers(Question::Tcp) => f.write_str("accepts connections"),
            Self::Answers(question) => write!(f, "answers {question}"),
            Self::Silent { question, timeout, times } => {
                write!(f, "no answer to {question} for {}", show_duration(*timeout))?;
                in_a_row(f, *times)
            }
            Self::Fails { what, times } => {
                f.write_str(what)?;
                in_a_row(f, *times)
            }
        }
    }
}

/// What is thought of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendHealth {
    /// Whether it is taken as up.
    pub is_up: bool,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub reason: Reason,
    /// How often it went down or came up.
    pub changes: u64,
}

/// All probed backends. The control thread writes it, anyone reads.
#[derive(Debug, Default)]
pub struct Report(RwLock<HashMap<BackendId, BackendHealth>>);

impl Report {
    /// What is thought of `backend`; nothing when it is not probed.
    pub fn of(&self, backend: BackendId) -> Option<BackendHealth> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&backend).cloned()
    }

    /// Forgets those whom `is_probed` refuses.
    pub(super) fn retain(&self, is_probed: impl Fn(&BackendId) -> bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|backend, _| is_probed(backend));
    }

    /// Replaces what is thought of `backend`.
    pub(crate) fn set(&self, backend: BackendId, health: BackendHealth) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(backend, health);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sentences_that_an_operator_understands() {
        let silent = |times| Reason::Silent { question: Question::Arp, timeout: Duration::from_secs(3), times };
        assert_eq!(silent(1).to_string(), "no answer to ARP for 3s");
        assert_eq!(silent(3).to_string(), "no answer to ARP for 3s, 3 times in a row");
        assert_eq!(Reason::Answers(Question::Arp).to_string(), "answers ARP");
        assert_eq!(Reason::Answers(Question::Tcp).to_string(), "accepts connections");
        assert_eq!(Reason::Fails { what: "status 503".into(), times: 2 }.to_string(), "status 503, 2 times in a row");
    }
}
