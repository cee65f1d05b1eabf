//! The schedulers by the names that the command line and the configuration file use.

use std::fmt;
use std::str::FromStr;

/// How a new connection gets its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `maglev`: a table of slots, looked up by the hash of the flow's 5-tuple.
    #[default]
    Maglev,
    /// `rr`: each member in turn.
    RoundRobin,
    /// `wrr`: in turn, as often as the weight says, spread over the round.
    WeightedRoundRobin,
    /// `lc`: the member with the fewest open connections.
    LeastConnections,
    /// `wlc`: the member with the fewest open connections for its weight.
    WeightedLeastConnections,
    /// `sh`: the same table as `maglev`'s, looked up by the hash of the client's address.
    SourceHash,
}

impl Algorithm {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 6] = [
        Self::Maglev,
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::WeightedLeastConnections,
        Self::SourceHash,
    ];

    /// The name that users write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maglev => "maglev",
            Self::RoundRobin => "rr",
            Self::WeightedRoundRobin => "wrr",
            Self::LeastConnections => "lc",
            Self::WeightedLeastConnections => "wlc",
            Self::SourceHash => "sh",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no scheduler has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scheduler \"{name}\": write one of {}", Algorithm::ALL.map(Algorithm::name).join(", "))]
pub struct UnknownAlgorithm {
    /// What was written.
    pub name: String,
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or_else(|| UnknownAlgorithm { name: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheduler_is_read_back_from_its_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for name in ["", "RR", "rr ", "random"] {
            let message = name.parse::<Algorithm>().unwrap_err().to_string();
            assert_eq!(message, format!("unknown scheduler \"{name}\": write one of maglev, rr, wrr, lc, wlc, sh"));
        }
    }
}
