//! What happens to each frame that comes in: it is counted and timed, answered, or left.
//!
//! What a packet is follows from its destination, not from the port: to a backend it is a request, to anybody else an
//! answer. So one port can play both sides.

use std::sync::Arc;

use super::converse::{self, Next};
use super::judge::{Judge, Verdict, Way};
use super::measure::{Counters, Latency};
use super::neighbors::{Heard, Neighbors};
use super::plan::{Answer, Plan, Traffic};
use super::stamp::{Key, SentAt};
use super::track::{LastOfFlows, Window};
use super::tunnel;
use crate::counters::PerWorker;
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::{arp, ipv4};

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
    /// It tells the next hop's address, and is done with.
    NextHop(MacAddr),
}

/// One lcore's receiving half.
#[derive(Debug)]
pub struct Receiver {
    neighbors: Neighbors,
    judge: Option<Judge>,
    answer: Answer,
    holds_connections: bool,
    /// By sender.
    windows: Vec<Window>,
    last: LastOfFlows,
    latency: Latency,
    counters: Arc<PerWorker<Counters>>,
    index: usize,
}

impl Receiver {
    /// Receives what `plan` sends, as the lcore that owns counters number `index`; there are as many senders as counters.
    pub fn new(plan: &Plan, neighbors: Neighbors, key: Key, counters: Arc<PerWorker<Counters>>, index: usize) -> Self {
        let judge = plan.clients.as_ref().map(|clients| Judge {
            flows: clients.flows,
            address: clients.vip,
            port: clients.port,
            protocol: clients.protocol,
            key,
        });
        let holds_connections =
            plan.clients.as_ref().is_some_and(|clients| matches!(clients.traffic, Traffic::Connections));
        Self {
            neighbors,
            judge,
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

    /// Handles a frame that came in at `now` on a port whose address is `mac`. The frame may change.
    #[inline]
    pub fn receive(&mut self, frame: &mut [u8], mac: MacAddr, now: SentAt) -> Fate {
        let Some(header) = ethernet::Header::new(frame) else { return self.other() };
        match header.ether_type() {
            EtherType::IPV4 if header.destination() == mac => {}
            EtherType::ARP => return self.hear(frame, mac),
            _ => return self.other(),
        }
        let Some(ip) = ipv4::Header::new(&frame[ethernet::HEADER_LEN..]) else { return self.other() };
        let Some(judge) = self.judge else { return self.echo(frame) };
        let destination = ip.destination();
        let plays_backends = self.answer == Answer::Direct || !self.neighbors.backends.is_empty();
        if self.neighbors.backends.contains(&destination) || plays_backends && destination == judge.address {
            match self.answer {
                Answer::Back => return self.echo(frame),
                Answer::Direct => {
                    let packet = &frame[ethernet::HEADER_LEN..];
                    let verdict = judge.judge(tunnel::inner(packet).unwrap_or(packet), Way::ToService);
                    self.count(verdict, frame.len(), now);
                    return Fate::Discard;
                }
            }
        }
        let verdict = judge.judge(&frame[ethernet::HEADER_LEN..], Way::ToClient);
        if self.holds_connections { self.go_on(verdict, frame, now) } else { self.count(verdict, frame.len(), now) }
    }

    fn hear(&self, frame: &mut [u8], mac: MacAddr) -> Fate {
        match self.neighbors.hear(frame, mac) {
            Heard::Answered => Fate::Transmit { len: arp::FRAME_LEN, is_sent: false },
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
