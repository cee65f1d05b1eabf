//! What a connection's own packets say of it: its protocol, its state, and for TCP how far each side has come.

use super::tcp::{Segment, Sight};
use crate::flow::Protocol;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the client to the backend.
    Original = 0,
    /// From the backend to the client.
    Reply = 1,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// Where a connection stands. Each state has its own timeout, see [`Timeouts`](super::Timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// No connection: the record is unused.
    Vacant,
    /// TCP: the client has sent a SYN.
    SynSent,
    /// TCP: both have sent a SYN; not both are acknowledged.
    SynReceived,
    /// TCP: both SYNs are acknowledged.
    Established,
    /// TCP: one side has sent its FIN.
    Closing,
    /// TCP, where the backend's half is not seen: the client has sent its FIN. What the backend may still send, and the
    /// client acknowledge, prolongs it; but it does not count as open.
    Parting,
    /// TCP: both FINs were seen. Further packets do not prolong it.
    TimeWait,
    /// TCP: a believable RST was seen. Further packets do not prolong it.
    Reset,
    /// UDP: no answer yet.
    Unreplied,
    /// UDP: packets in both directions.
    Replied,
    /// ICMP echo.
    Echo,
    /// UDP, of a datagram that was scheduled by itself: it is answered. Further answers do not prolong it.
    Answered,
}

impl State {
    /// Every state, in the order of their numbers.
    pub(super) const ALL: [Self; 12] = [
        Self::Vacant,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::Closing,
        Self::Parting,
        Self::TimeWait,
        Self::Reset,
        Self::Unreplied,
        Self::Replied,
        Self::Echo,
        Self::Answered,
    ];

    /// Its name, as people and the API write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vacant => "vacant",
            Self::SynSent => "syn_sent",
            Self::SynReceived => "syn_received",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Parting => "parting",
            Self::TimeWait => "time_wait",
            Self::Reset => "reset",
            Self::Unreplied => "unreplied",
            Self::Replied => "replied",
            Self::Echo => "echo",
            Self::Answered => "answered",
        }
    }

    /// The names of the states that a connection can have.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(|state| *state != Self::Vacant).map(Self::name)
    }

    /// The state of a connection that has this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state != Self::Vacant && state.name() == name)
    }

    /// Whether the connection counts as open: `lc` counts it, and its source port is in use.
    #[inline]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Vacant | Self::Parting | Self::TimeWait | Self::Reset | Self::Answered)
    }

    /// Whether nobody has proved to be there: the client of a TCP connection has not answered the backend's SYN-ACK, a UDP flow
    /// was never answered, or it is a ping. Such a one costs its sender a packet, and is the first to go when room is needed.
    #[inline]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Unreplied | Self::Echo)
    }

    /// Whether it is a TCP connection whose client has not answered the backend's SYN-ACK.
    #[inline(always)]
    pub const fn is_opening(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived)
    }

    /// Whether its packets prolong it.
    #[inline]
    pub(super) const fn is_prolonged(self) -> bool {
        !matches!(self, Self::Vacant | Self::TimeWait | Self::Reset | Self::Answered)
    }

    /// Whether it is over and only its source port rests, so that it makes room for others first.
    #[inline]
    pub(super) const fn rests(self) -> bool {
        matches!(self, Self::TimeWait | Self::Reset | Self::Answered)
    }
}

/// What a packet changed about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was open and now rests in [`State::TimeWait`] or [`State::Reset`].
    Closed,
    /// It rested in [`State::Reset`] and is open again: the RST was not its end (RFC 7857 §2.2).
    Restored,
    /// Nothing changed, but the client's SYN asks for a new connection in place of this resting one.
    Reopen {
        /// Whether the SYN's sequence number lies beyond all that this connection used, so that a backend in TIME-WAIT
        /// takes it on the same tuple (RFC 1122 §4.2.2.13, RFC 6191).
        keep_port: bool,
    },
}

/// What one packet meant for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Whether the packet can belong to the connection. One that cannot is no proof that either side is alive, and not a
    /// reason to drop it either: what it means is for its receiver to say.
    pub in_window: bool,
    /// What it changed.
    pub change: Option<Change>,
}

impl Observed {
    /// A packet that can't be told from a stranger's.
    pub(super) const FOREIGN: Self = Self { in_window: false, change: None };
    /// A packet that belongs and changes nothing.
    pub(super) const ORDINARY: Self = Self { in_window: true, change: None };
}

/// Bit of [`Track::facts`] where there are no segments: the client's datagrams are scheduled one by one.
const ONE_PACKET: u8 = 1;

/// A connection's protocol and state, and each side's sequence window, indexed by [`Direction`]: what the sender in that
/// direction has sent and may send. The windows mean nothing but in TCP; the module `tcp` has their rules.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Track {
    /// The number after the highest sequence number seen.
    pub(super) ends: [u32; 2],
    /// The highest acknowledgement plus window that the receiver has sent: no number from here on may be used.
    pub(super) max_ends: [u32; 2],
    /// The largest window that the sender has advertised, as it stands in the segment; 0: nothing seen of it yet.
    pub(super) max_windows: [u16; 2],
    /// The window shifts, four bits each, the original direction's low.
    pub(super) scales: u8,
    /// Bits of the module `tcp`.
    pub(super) facts: u8,
    pub(super) state: State,
    pub(super) protocol: Protocol,
}

impl Track {
    /// Nothing known yet but protocol and state.
    pub(super) const fn blank(protocol: Protocol, state: State) -> Self {
        Self { ends: [0; 2], max_ends: [0; 2], max_windows: [0; 2], scales: 0, facts: 0, state, protocol }
    }

    /// A UDP flow or an ICMP echo exchange after its first packet, which was the client's. Where answers go past leat,
    /// they are taken to come.
    pub const fn datagram(protocol: Protocol, sight: Sight) -> Self {
        let state = match (protocol, sight) {
            (Protocol::Icmp, _) => State::Echo,
            (Protocol::Tcp | Protocol::Udp, Sight::Both) => State::Unreplied,
            (Protocol::Tcp | Protocol::Udp, Sight::OriginalOnly) => State::Replied,
        };
        Self::blank(protocol, state)
    }

    /// A datagram of the client's that is scheduled by itself. Where answers go past leat, it is over.
    pub(super) const fn one_packet(protocol: Protocol, sight: Sight) -> Self {
        match sight {
            Sight::Both => Self { facts: ONE_PACKET, ..Self::blank(protocol, State::Unreplied) },
            Sight::OriginalOnly => Self::blank(protocol, State::Answered),
        }
    }

    /// Where the connection stands.
    #[inline]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its protocol.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether a datagram changes nothing but when it was seen.
    #[inline(always)]
    pub(super) const fn is_passed_by_datagram(&self, direction: Direction) -> bool {
        match self.state {
            State::Replied => true,
            State::Unreplied => matches!(direction, Direction::Original),
            _ => false,
        }
    }

    /// Takes in one packet; `segment` is the TCP header of a TCP packet and `None` otherwise.
    #[inline]
    pub fn observe(&mut self, direction: Direction, segment: Option<&Segment>) -> Observed {
        match (self.state, segment) {
            (State::Vacant, _) => Observed::FOREIGN,
            // RFC 4787 REQ-6: packets from the inside refresh; a reply proves that somebody listens.
            (State::Unreplied, None) => {
                if direction == Direction::Reply && self.facts & ONE_PACKET != 0 {
                    self.state = State::Answered;
                    return Observed { in_window: true, change: Some(Change::Closed) };
                }
                if direction == Direction::Reply {
                    self.state = State::Replied;
                }
                Observed::ORDINARY
            }
            (State::Replied | State::Echo | State::Answered, None) => Observed::ORDINARY,
            (State::Unreplied | State::Replied | State::Echo | State::Answered, Some(_)) | (_, None) => {
                Observed::FOREIGN
            }
            (_, Some(segment)) => self.observe_segment(direction, segment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_in_the_order_of_their_numbers() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
        }
    }

    #[test]
    fn a_dns_answer_moves_a_flow_to_the_longer_timeout() {
        let mut track = Track::datagram(Protocol::Udp, Sight::Both);
        assert_eq!(track.observe(Direction::Original, None), Observed::ORDINARY);
        assert_eq!(track.state(), State::Unreplied);
        assert_eq!(track.observe(Direction::Reply, None), Observed::ORDINARY);
        assert_eq!(track.state(), State::Replied);
        assert_eq!(track.observe(Direction::Original, None), Observed::ORDINARY);
        assert_eq!(track.state(), State::Replied);
    }

    #[test]
    fn a_ping_stays_a_ping() {
        let mut track = Track::datagram(Protocol::Icmp, Sight::Both);
        assert_eq!(track.observe(Direction::Reply, None), Observed::ORDINARY);
        assert_eq!(track.state(), State::Echo);
    }
}
