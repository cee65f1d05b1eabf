//! What `--trace` says of each packet.
//!
//! The pipeline tells a [`Tracer`] what it decides, as it decides it. [`Silent`] is compiled to nothing; [`Narrator`]
//! writes a short block for each packet. The packet path is the same code with either.

use std::fmt::{self, Write as _};
use std::io;
use std::net::IpAddr;

use super::headline::Headline;
use crate::conntrack::State;
use crate::counters::DropReason;
use crate::flow::{Endpoint, FlowKey};
use crate::forward::{Complaint, Segment};
use crate::id::{PortId, WorkerId};
use crate::neighbor::Hop;
use crate::scheduler::Why;
use crate::service::Service;

/// Listens to what becomes of packets, one after the other.
pub trait Tracer {
    /// Whether anybody listens. What is only done for the listener is done when this is true.
    const ENABLED: bool;

    /// A packet came in.
    fn arrived(&mut self, frame: &[u8], port: PortId);

    /// Something was found out or decided about it.
    fn note(&mut self, note: Note<'_>);

    /// It is over: `frame` is the packet as it is now.
    fn ended(&mut self, frame: &[u8], end: End);
}

/// Something found out or decided about a packet.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// It is for this service.
    Service(&'a Service),
    /// Its flow belongs to a connection that is known.
    Known {
        /// The client's and the VIP's side.
        original: FlowKey,
        /// The backend's and the local address's side, as the backend answers; none where answers go past leat.
        reply: Option<FlowKey>,
        /// Whether the packet comes from the backend.
        is_reply: bool,
        /// The state that it is in after this packet.
        state: State,
        /// Its service.
        service: Option<&'a Service>,
        /// Its backend's address and port.
        backend: (IpAddr, u16),
    },
    /// The segment lies outside of what the receiver accepts: it is passed on and changes nothing here.
    OutOfWindow,
    /// A new connection takes the place of one that was over.
    Reopened,
    /// The connection's backend has failed, and it is given to another.
    Moved,
    /// The flow had this backend before, and its service remembers flows.
    Remembered(IpAddr, u16),
    /// It is a fragment that waited for others of its packet.
    Gathered,
    /// It is an ICMP error about a packet of that connection.
    Error,
    /// Its sender was told what is wrong with it.
    Complained(Complaint),
    /// The packet was cut into so many pieces.
    Fragmented(usize),
    /// The client had this backend before, and persistence keeps it.
    Persistent(IpAddr, u16),
    /// The scheduler chose another backend, which has as many connections as it may, so it is this one.
    Instead {
        /// Its address.
        address: IpAddr,
        /// Its port, in host byte order.
        port: u16,
        /// The other's address and port.
        full: (IpAddr, u16),
    },
    /// The scheduler chose this backend.
    Chosen {
        /// Its address.
        address: IpAddr,
        /// Its port, in host byte order.
        port: u16,
        /// The reason.
        why: Why,
    },
    /// A new connection has this source towards its backend.
    Source {
        /// The local address.
        address: IpAddr,
        /// The port, in host byte order.
        port: u16,
        /// Whether it is the client's own.
        kept: bool,
    },
    /// It has been here before, and was held for its next hop; it is already rewritten.
    Waited,
    /// leat's own health checker sends it.
    Probe,
    /// An ARP message was heard.
    Arp(&'a crate::wire::arp::Message),
    /// It is this message of neighbour discovery.
    Ndp(&'a crate::wire::ndp::Message),
    /// leat answers by itself.
    Answered(&'a str),
    /// leat sends this segment of its own, beside.
    Says(&'a Segment<'a>),
}

/// How a packet's way through leat ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// It was sent.
    Transmitted(Hop),
    /// It waits for this next hop to answer ARP.
    Held(IpAddr),
    /// It is a fragment and waits for the others of its packet.
    Gathered,
    /// It was given to the worker that owns its flow.
    HandedOver(WorkerId),
    /// It was dropped.
    Dropped(DropReason),
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Tracer for Silent {
    const ENABLED: bool = false;

    #[inline(always)]
    fn arrived(&mut self, _frame: &[u8], _port: PortId) {}

    #[inline(always)]
    fn note(&mut self, _note: Note<'_>) {}

    #[inline(always)]
    fn ended(&mut self, _frame: &[u8], _end: End) {}
}

/// The words about one packet after the other: a block of lines for each.
pub struct Story {
    lcore: u32,
    before: Option<Headline>,
    block: String,
}

impl Story {
    /// Words about what happens on one lcore, by DPDK's number.
    pub const fn new(lcore: u32) -> Self {
        Self { lcore, before: None, block: String::new() }
    }

    /// A packet came in.
    pub fn begin(&mut self, frame: &[u8], port: PortId) {
        let headline = Headline::of(frame);
        self.block.clear();
        let _ = writeln!(self.block, "port {}, lcore {}: {headline}", port.0, self.lcore);
        self.before = Some(headline);
    }

    /// Something was found out or decided about it.
    pub fn note(&mut self, note: Note<'_>) {
        if let Note::Known { service: Some(service), .. } = note {
            self.line(Note::Service(service));
        }
        self.line(note);
    }

    /// It is over: all that there is to say about it.
    pub fn end(&mut self, frame: &[u8], end: End) -> &str {
        if let Some(before) = self.before.take()
            && !matches!(end, End::Dropped(_))
        {
            for change in before.changes(&Headline::of(frame)) {
                self.line(change);
            }
        }
        self.line(end);
        &self.block
    }

    fn line(&mut self, line: impl fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.block, "    {line}");
    }
}

/// Writes each packet's words out.
pub struct Narrator<W> {
    output: W,
    story: Story,
}

impl<W: io::Write> Narrator<W> {
    /// A narrator for one lcore, by DPDK's number. A write that fails is forgotten: the packets go on.
    pub const fn new(output: W, lcore: u32) -> Self {
        Self { output, story: Story::new(lcore) }
    }
}

impl<W: io::Write> Tracer for Narrator<W> {
    const ENABLED: bool = true;

    fn arrived(&mut self, frame: &[u8], port: PortId) {
        self.story.begin(frame, port);
    }

    fn note(&mut self, note: Note<'_>) {
        self.story.note(note);
    }

    fn ended(&mut self, frame: &[u8], end: End) {
        let _ = self.output.write_all(self.story.end(frame, end).as_bytes());
        let _ = self.output.flush();
    }
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => {
                let Service { name, vip, protocol, port, mode, .. } = service;
                let (vip, algorithm) = (Endpoint(*vip, *port), service.schedule.algorithm());
                write!(f, "service {name} ({protocol} {vip}, {mode}, {algorithm})")
            }
            Self::Known { original, reply, is_reply, state, .. } => {
                let direction = if *is_reply { "reply" } else { "original" };
                write!(f, "known connection, {direction} direction: {original}, ")?;
                match reply {
                    Some(reply) => write!(f, "answered as {reply}, now {state:?}"),
                    None => write!(f, "answered directly, now {state:?}"),
                }
            }
            Self::OutOfWindow => {
                f.write_str("outside of the window: passed on, but it changes nothing about the connection")
            }
            Self::Says(Segment { key, flags, sequence, payload, .. }) => {
                write!(f, "leat itself sends {key} [{flags}] seq {sequence}, {} bytes of data", payload.len())
            }
            Self::Reopened => f.write_str("the connection was over, and a SYN opens a new one in its place"),
            Self::Moved => f.write_str("its backend is down, so the connection goes to another"),
            Self::Remembered(address, port) => {
                write!(f, "new connection → backend {}, which this flow had before", Endpoint(*address, *port))
            }
            Self::Gathered => f.write_str("a fragment that waited for the others of its packet"),
            Self::Error => f.write_str(
                "an ICMP error about a packet that came the other way, which it is passed on to the sender of",
            ),
            Self::Complained(Complaint::TooBig(mtu)) => {
                write!(f, "its sender is told that {mtu} bytes fit")
            }
            Self::Complained(Complaint::TimeExceeded) => {
                f.write_str("its sender is told that its time to live is over")
            }
            Self::Fragmented(pieces) => write!(f, "cut into {pieces} pieces"),
            Self::Persistent(address, port) => {
                write!(f, "new connection → backend {}, which this client had before", Endpoint(*address, *port))
            }
            Self::Instead { address, port, full: (full, full_port) } => {
                let (to, full) = (Endpoint(*address, *port), Endpoint(*full, *full_port));
                write!(f, "new connection: {full} has as many as it may → backend {to}")
            }
            Self::Chosen { address, port, why } => {
                write!(f, "new connection: {why} → backend {}", Endpoint(*address, *port))
            }
            Self::Source { address, port, kept } => {
                let why = if *kept { "the client's own port" } else { "a free port" };
                write!(f, "source towards the backend: {}, {why}", Endpoint(*address, *port))
            }
            Self::Waited => f.write_str("it was rewritten before, and waited for its next hop"),
            Self::Probe => f.write_str("a health check of leat's own"),
            Self::Arp(message) => {
                let crate::wire::arp::Message { operation, sender_mac, sender, target, .. } = message;
                write!(f, "arp {operation:?}: {sender} at {sender_mac}, about {target}")
            }
            Self::Ndp(message) => {
                let crate::wire::ndp::Message { kind, source, target, link, .. } = message;
                let link = link.map_or_else(String::new, |link| format!(" at {link}"));
                match kind {
                    crate::wire::ndp::Kind::Solicitation => {
                        write!(f, "ndp solicitation: {source}{link}, about {target}")
                    }
                    crate::wire::ndp::Kind::Advertisement { is_router, is_solicited, overrides } => {
                        let flags = [(is_router, " R"), (is_solicited, " S"), (overrides, " O")];
                        let flags: String =
                            flags.iter().filter(|(is_set, _)| **is_set).map(|(_, flag)| *flag).collect();
                        write!(f, "ndp advertisement{flags}: {target}{link}, from {source}")
                    }
                }
            }
            Self::Answered(what) => write!(f, "answered by leat itself: {what}"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmitted(Hop { mac, port }) => write!(f, "sent on port {} to {mac}", port.0),
            Self::Held(next_hop @ IpAddr::V4(_)) => write!(f, "held until {next_hop} answers ARP"),
            Self::Held(next_hop) => write!(f, "held until {next_hop} answers neighbour discovery"),
            Self::Gathered => f.write_str("held until all fragments of its packet are here"),
            Self::HandedOver(worker) => write!(f, "handed over to worker {}, which owns the flow", worker.0),
            Self::Dropped(reason) => write!(f, "dropped: {} ({})", reason.description(), reason.name()),
        }
    }
}
