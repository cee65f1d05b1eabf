//! What a scheduler answers: the backend, and the reason in a form that costs nothing until somebody prints it.

use std::fmt;

use crate::id::BackendId;

/// A new connection's backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Who gets the connection.
    pub backend: BackendId,
    /// Why it and no other.
    pub why: Why,
}

/// Why a backend was chosen. `Display` says it in half a sentence, for `--trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// `maglev`: the flow's hash fell on a slot of this backend.
    Maglev(Slot),
    /// `sh`: the hash of the client's address fell on a slot of this backend.
    Source(Slot),
    /// `rr` and `wrr`: it was its turn.
    Turn {
        /// The turn within the round, from 1. `rr`: the backend's place among those that can be chosen.
        position: u32,
        /// Turns in a round.
        of: u32,
    },
    /// `lc`: none has fewer open connections.
    LeastOpen {
        /// How many it has, this one not counted.
        open: u64,
    },
    /// `wlc`: none has fewer open connections for its weight.
    LeastOpenForWeight {
        /// How many it has, this one not counted.
        open: u64,
        /// Its weight.
        weight: u16,
    },
}

/// A look into the table of `maglev` or `sh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The scheduler's hash.
    pub hash: u64,
    /// The slot that it falls on: the hash modulo the size.
    pub number: u32,
    /// The table's size.
    pub size: u32,
    /// Whose slot it is when all backends are up.
    pub owner: BackendId,
    /// Steps that the slot went along its order of preference before it came to a backend that is up: 0 when the
    /// owner itself is, otherwise the owner counts as the first. A heavy backend can stand in an order several times.
    /// Never more than 65535.
    pub passed_over: u16,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash, number, size, owner: _, passed_over } = self;
        write!(f, "{hash:#018x} → slot {number} of {size}")?;
        match passed_over {
            0 => Ok(()),
            1 => f.write_str(", whose owner is down: the next in its order"),
            _ => write!(f, ", whose owner is down: {passed_over} places further in its order"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maglev(slot) => write!(f, "hash {slot}"),
            Self::Source(slot) => write!(f, "hash of the client's address {slot}"),
            Self::Turn { position, of } => write!(f, "its turn, {position} of {of}"),
            Self::LeastOpen { open } => write!(f, "fewest open connections, {open}"),
            Self::LeastOpenForWeight { open, weight } => {
                write!(f, "fewest open connections for its weight, {open} at weight {weight}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_half_a_sentence() {
        let slot = Slot { hash: 0x12_3456, number: 48_122, size: 65_537, owner: BackendId(3), passed_over: 0 };
        let rows = [
            (Why::Maglev(slot), "hash 0x0000000000123456 → slot 48122 of 65537"),
            (
                Why::Maglev(Slot { passed_over: 1, ..slot }),
                "hash 0x0000000000123456 → slot 48122 of 65537, whose owner is down: the next in its order",
            ),
            (
                Why::Source(Slot { passed_over: 3, ..slot }),
                "hash of the client's address 0x0000000000123456 → slot 48122 of 65537, \
                 whose owner is down: 3 places further in its order",
            ),
            (Why::Turn { position: 2, of: 3 }, "its turn, 2 of 3"),
            (Why::LeastOpen { open: 7 }, "fewest open connections, 7"),
            (Why::LeastOpenForWeight { open: 7, weight: 5 }, "fewest open connections for its weight, 7 at weight 5"),
        ];
        for (why, text) in rows {
            assert_eq!(why.to_string(), text);
        }
    }
}
