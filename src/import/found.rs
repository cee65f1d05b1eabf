//! Virtual servers as a reader found them, in IPVS's terms: what both kinds of input have in common.

use std::net::IpAddr;
use std::num::NonZeroU32;

use super::check::Check;
use super::note::{Fate, Note, Place};
use crate::service::ServiceProtocol;

/// One thing of the input, in its order.
#[derive(Debug)]
pub(super) enum Entry {
    /// Something that stands outside of a virtual server, or makes one that cannot be.
    Note(Note),
    /// A virtual server.
    Server(Box<VirtualServer>),
}

/// A virtual server with its real servers.
#[derive(Debug)]
pub(super) struct VirtualServer {
    pub(super) place: Place,
    /// What messages call it: as the input has it.
    pub(super) title: String,
    /// A name that the input gives it.
    pub(super) name: Option<At<String>>,
    /// One, or those of a group. None that is not IPv4.
    pub(super) vips: Vec<Vip>,
    /// TCP or UDP.
    pub(super) protocol: ServiceProtocol,
    /// As it is written; without one, IPVS takes wlc.
    pub(super) scheduler: Option<At<String>>,
    /// Whether `sh` or `mh` hash the client's port as well.
    pub(super) hashes_port: bool,
    /// Seconds; 0 is off.
    pub(super) persistence: Option<At<u64>>,
    /// One-packet scheduling, where it is asked for, by what the input calls it. IPVS obeys it with UDP alone.
    pub(super) one_packet: Option<At<&'static str>>,
    pub(super) servers: Vec<RealServer>,
    /// What the reader has to say about the inside.
    pub(super) notes: Vec<Note>,
}

/// A value and the line that it comes from.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

/// An address of a virtual server.
#[derive(Clone, Debug)]
pub(super) struct Vip {
    pub(super) place: Place,
    pub(super) address: IpAddr,
    /// 0 is every port.
    pub(super) port: u16,
}

/// A real server.
#[derive(Clone, Debug)]
pub(super) struct RealServer {
    pub(super) place: Place,
    /// What messages call it: as the input has it.
    pub(super) title: String,
    pub(super) address: IpAddr,
    /// 0 is the virtual server's.
    pub(super) port: u16,
    pub(super) weight: u16,
    /// The upper threshold: that many connections, and no new ones beyond. IPVS's 0 is none.
    pub(super) max_connections: Option<NonZeroU32>,
    pub(super) forward: Forward,
    /// All of them must succeed.
    pub(super) checks: Vec<Check>,
}

/// IPVS's packet-forwarding methods that leat has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Forward {
    /// Masquerading.
    Nat,
    /// Gatewaying, direct routing.
    Dr,
    /// Tunnelling in IP.
    Ipip,
    /// Tunnelling in UDP to this port.
    Gue { port: u16, checksum: bool },
}

impl VirtualServer {
    /// A lower threshold, which is IPVS's alone. 0 is none there, too.
    pub(super) fn leave_out_lower_threshold(&mut self, place: &Place, what: &str, threshold: u32) {
        if threshold != 0 {
            let reason = "a full backend gets new connections again as soon as it has fewer than max_connections";
            self.leave_out(place, what, reason);
        }
    }

    /// Something inside has no counterpart.
    pub(super) fn leave_out(&mut self, place: &Place, what: &str, reason: impl std::fmt::Display) {
        self.note(place, what, Fate::LeftOut, reason);
    }

    /// Something inside means something else in leat.
    pub(super) fn change(&mut self, place: &Place, what: &str, reason: impl std::fmt::Display) {
        self.note(place, what, Fate::Changed, reason);
    }

    fn note(&mut self, place: &Place, what: &str, fate: Fate, reason: impl std::fmt::Display) {
        let about = format!("{}: {what}", self.title);
        self.notes.push(Note::new(place, about, fate, reason));
    }
}

impl Forward {
    /// leat's name for it.
    pub(super) fn mode(self) -> crate::service::Mode {
        use crate::service::Mode;
        match self {
            Self::Nat => Mode::Nat,
            Self::Dr => Mode::Dr,
            Self::Ipip => Mode::Ipip,
            Self::Gue { .. } => Mode::Gue,
        }
    }
}
