//! What is thought of the probed backends, for everyone who reads.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::config::{HealthKind, show_duration};
use crate::id::BackendId;
use crate::time::Instant;

/// Why a backend is taken as up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No probe was decided yet.
    Unproven,
    /// It answers probes.
    Answers(HealthKind),
    /// It does not.
    Silent {
        /// What it did not answer.
        kind: HealthKind,
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = |kind: &HealthKind| match kind {
            HealthKind::Arp => "ARP",
            HealthKind::Icmp => "ping",
            HealthKind::Tcp => "TCP",
            HealthKind::Http => "HTTP",
        };
        let in_a_row = |f: &mut fmt::Formatter<'_>, times: u8| {
            if times > 1 { write!(f, ", {times} times in a row") } else { Ok(()) }
        };
        match self {
            Self::Unproven => f.write_str("not proven yet"),
            Self::Answers(HealthKind::Tcp) => f.write_str("accepts connections"),
            Self::Answers(kind) => write!(f, "answers {}", protocol(kind)),
            Self::Silent { kind, timeout, times } => {
                write!(f, "no answer to {} for {}", protocol(kind), show_duration(*timeout))?;
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
        let silent = |times| Reason::Silent { kind: HealthKind::Arp, timeout: Duration::from_secs(3), times };
        assert_eq!(silent(1).to_string(), "no answer to ARP for 3s");
        assert_eq!(silent(3).to_string(), "no answer to ARP for 3s, 3 times in a row");
        assert_eq!(Reason::Answers(HealthKind::Arp).to_string(), "answers ARP");
        assert_eq!(Reason::Fails { what: "status 503".into(), times: 2 }.to_string(), "status 503, 2 times in a row");
    }
}
