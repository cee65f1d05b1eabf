//! What happens to each frame that comes in: it is counted and timed, answered, or left.
//!
//! What a packet is follows from its destination, not from the port: to a backend it is a request, to anybody else an
//! answer. So one port can play both sides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::converse::{self, Next};
use super::judge::{Judge, Verdict, Way};
use super::measure::{Counters, Latency};
use super::neighbors::{Frame, Heard, Neighbors};
use super::plan::{Answer, Plan, Traffic};
use super::stamp::{Key, SentAt};
use super::track::{LastOfFlows, Window};
use super::tunnel::{self, Opened};
use crate::counters::PerWorker;
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::{icmpv6, ipv4, ipv6, ndp};

/// What is to be done with a frame that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done with.
    Discard,
    /// Its first `len` bytes are to be sent out of the port that it came in on.
    Transmit {
        /// Bytes.
        len: usize,
        /// Whether it is a client's, and expected to come back.
        is_sent: bool,
    },
    /// It asked for an address: [`Receiver::answer`] is to be sent in its place.
    Answer,
    /// It tells the next hop's address, and is done with.
    NextHop(MacAddr),
}

/// Whom a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Client,
    /// Perhaps in a tunnel.
    Backend,
    /// A backend that has the service's address, and is sent packets as they are.
    Service,
}

/// Where backends are, in one version of IP.
#[derive(Debug)]
struct Stations<A> {
    service: Option<A>,
    backends: Vec<A>,
}

impl<A: PartialEq> Stations<A> {
    fn new(service: Option<IpAddr>, backends: &[IpAddr], own: impl Fn(IpAddr) -> Option<A>) -> Self {
        Self { service: service.and_then(&own), backends: backends.iter().copied().filter_map(own).collect() }
    }

    #[inline(always)]
    fn whose(&self, destination: A) -> To {
        match &self.service {
            Some(service) if *service == destination => To::Service,
            _ if self.backends.contains(&destination) => To::Backend,
            _ => To::Client,
        }
    }
}

/// One lcore's receiving half.
#[derive(Debug)]
pub struct Receiver {
    neighbors: Neighbors,
    /// To the last question.
    answer_frame: Frame,
    v4: Stations<Ipv4Addr>,
    v6: Stations<Ipv6Addr>,
    judge: Option<Judge>,
    /// That of the clients' version.
    ether_type: EtherType,
    answer: Answer,
    holds_connections: bool,
    /// By sender.
    windows: Vec<Window>,
    last: LastOfFlows,
    latency: Latency,
    counters: PerWorker<Counters>,
    index: usize,
}

impl Receiver {
    /// Receives what `plan` sends, as the lcore that owns counters number `index`; there are as many senders as counters.
    pub fn new(plan: &Plan, neighbors: Neighbors, key: Key, counters: PerWorker<Counters>, index: usize) -> Self {
        let judge = plan.clients.as_ref().map(|clients| Judge {
            flows: clients.flows,
            address: clients.vip,
            port: clients.port,
            protocol: clients.protocol,
            key,
        });
        let holds_connections =
            plan.clients.as_ref().is_some_and(|clients| matches!(clients.traffic, Traffic::Connections));
        let plays_backends = plan.answer == Answer::Direct || !plan.backends.is_empty();
        let vip = plan.clients.as_ref().map(|clients| clients.vip);
        let service = vip.filter(|_| plays_backends);
        Self {
            neighbors,
            answer_frame: Frame::new(),
            v4: Stations::new(service, &plan.backends, |address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            }),
            v6: Stations::new(service, &plan.backends, |address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => Some(address),
            }),
            judge,
            ether_type: vip.map_or(EtherType::IPV4, EtherType::of),
            answer: plan.answer,
            holds_connections,
            windows: counters.iter().map(|_| Window::default()).collect(),
            last: LastOfFlows::default(),
            latency: Latency::default(),
            counters,
            index,
        }
    }

    /// Forgets the times so far: the measurement begins.
    pub fn begin(&mut self) {
        self.latency.reset();
    }

    /// The times since [`Self::begin`].
    pub fn into_latency(self) -> Latency {
        self.latency
    }

    /// What is to be said after [`Fate::Answer`].
    pub fn answer(&self) -> &[u8] {
        &self.answer_frame
    }

    /// Handles a frame that came in at `now` on a port whose address is `mac`. The frame may change.
    #[inline]
    pub fn receive(&mut self, frame: &mut [u8], mac: MacAddr, now: SentAt) -> Fate {
        let Some(header) = ethernet::Header::new(frame) else { return self.other() };
        let (ether_type, is_ours) = (header.ether_type(), header.destination() == mac);
        let packet = &frame[ethernet::HEADER_LEN..];
        let to = match ether_type {
            EtherType::IPV4 if is_ours => ipv4::Header::new(packet).map(|ip| self.v4.whose(ip.destination())),
            EtherType::IPV6 if is_about_neighbors(packet) => return self.hear(frame, mac),
            EtherType::IPV6 if is_ours => ipv6::Header::new(packet).map(|ip| self.v6.whose(ip.destination())),
            EtherType::ARP => return self.hear(frame, mac),
            _ => None,
        };
        let Some(to) = to else { return self.other() };
        let Some(judge) = &self.judge else { return self.echo(frame) };
        let (ether_type, packet, way) = match (to, self.answer) {
            (To::Client, _) => (ether_type, packet, Way::ToClient),
            (To::Backend | To::Service, Answer::Back) => return self.echo(frame),
            (To::Service, Answer::Direct) => (ether_type, packet, Way::ToService),
            (To::Backend, Answer::Direct) => match tunnel::open(ether_type, packet) {
                Opened::Inside(ether_type, packet) => (ether_type, packet, Way::ToService),
                Opened::Damaged => return self.count(Verdict::Corrupt, frame.len(), now),
                Opened::Nothing => (ether_type, packet, Way::ToService),
            },
        };
        if ether_type != self.ether_type {
            return self.other();
        }
        let verdict = judge.judge(packet, way);
        if self.holds_connections { self.go_on(verdict, frame, now) } else { self.count(verdict, frame.len(), now) }
    }

    #[cold]
    fn hear(&mut self, frame: &[u8], mac: MacAddr) -> Fate {
        match self.neighbors.hear(frame, mac) {
            Heard::Question(answer) => {
                self.answer_frame = answer;
                Fate::Answer
            }
            Heard::NextHop(mac) => Fate::NextHop(mac),
            Heard::Nothing => Fate::Discard,
        }
    }

    #[inline(always)]
    fn echo(&self, frame: &mut [u8]) -> Fate {
        if !converse::echo(frame) {
            return Fate::Discard;
        }
        self.counters[self.index].reflected.add(1);
        Fate::Transmit { len: frame.len(), is_sent: false }
    }

    /// Counts and times a packet.
    #[inline(always)]
    fn count(&mut self, verdict: Verdict, len: usize, now: SentAt) -> Fate {
        let counters = &self.counters[self.index];
        match verdict {
            Verdict::Right { flow, sent, number } => {
                let sender = flow as usize % self.windows.len();
                if number.is_some_and(|number| self.windows[sender].is_repeated(number)) {
                    counters.duplicated.add(1);
                    return Fate::Discard;
                }
                if self.last.is_overtaken(flow, sent) {
                    counters.reordered.add(1);
                }
                counters.right.add(1);
                counters.right_bytes.add(len as u64);
                self.latency.record(time(sent, now));
            }
            Verdict::Misdirected => counters.misdirected.add(1),
            Verdict::Corrupt => counters.corrupt.add(1),
            Verdict::Other => counters.other.add(1),
        }
        Fate::Discard
    }

    /// Counts a packet of a connection, and takes the connection's next step. All its packets have the first one's stamp.
    #[inline(always)]
    fn go_on(&mut self, verdict: Verdict, frame: &mut [u8], now: SentAt) -> Fate {
        let counters = &self.counters[self.index];
        let Verdict::Right { sent, .. } = verdict else { return self.count(verdict, frame.len(), now) };
        counters.right.add(1);
        counters.right_bytes.add(frame.len() as u64);
        match converse::next(frame) {
            Next::Send => Fate::Transmit { len: frame.len(), is_sent: true },
            Next::SendLast(len) => {
                counters.completed.add(1);
                self.latency.record(time(sent, now));
                Fate::Transmit { len, is_sent: false }
            }
            Next::Nothing => Fate::Discard,
        }
    }

    fn other(&self) -> Fate {
        self.counters[self.index].other.add(1);
        Fate::Discard
    }
}

/// Whether an IPv6 packet is a message of neighbour discovery, which goes to a group as often as to one station.
#[inline(always)]
fn is_about_neighbors(packet: &[u8]) -> bool {
    let is_icmp = ipv6::Header::new(packet).is_some_and(|ip| ip.next_header() == icmpv6::PROTOCOL);
    is_icmp && packet.get(ipv6::HEADER_LEN).is_some_and(|kind| ndp::is_about_neighbors(*kind))
}

/// Nanoseconds from `sent` to `now`. Counters of different CPUs may differ a little: no time is less than none.
#[inline(always)]
const fn time(sent: SentAt, now: SentAt) -> u64 {
    match now.nanos_until(sent) {
        1..=CLOCK_ERROR => 0,
        _ => sent.nanos_until(now),
    }
}

/// The most by which two CPUs' counters may differ, in nanoseconds.
const CLOCK_ERROR: u64 = 1_000_000;

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
