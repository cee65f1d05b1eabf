//! Health checks that take a conversation: a ping, a TCP connection, a request by HTTP.
//!
//! ```text
//! start ─▶ Flight: stack (smoltcp) ─▶ Courier ─▶ first worker, port
//! poll  ◀─ outcome ◀─ stack ◀─ Courier ◀─ first worker, port
//! ```
//!
//! All of it happens in the control thread. Each conversation has a number, the source port or the identifier of its packets,
//! by which packets find their backend on the way out, and their conversation on the way back.

mod echo;
mod http;
mod stack;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smoltcp::iface::SocketHandle;

use crate::config::{Health, HealthKind, HttpCheck, show_duration};
use crate::courier::{self, Courier};
use crate::id::BackendId;
use crate::time::Instant;
use http::Judgement;
use stack::{Stack, Stand};

/// Where a backend is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where packets leave from: one of leat's addresses.
    pub source: IpAddr,
    /// Where they go: the backend's address, or in the one-way modes the VIP, which it holds.
    pub destination: IpAddr,
    /// The port there, in host byte order; 0 for a ping.
    pub port: u16,
    /// Numbers out of [`courier::PORTS`] that have another use at the source.
    pub taken: Vec<u16>,
}

/// Why a backend has not passed, in words.
pub(super) type Fault = Arc<str>;

/// All conversations.
#[derive(Debug)]
pub(super) struct Talks {
    courier: Arc<Courier>,
    stacks: HashMap<IpAddr, Stack>,
    flights: HashMap<u16, Flight>,
    next: u16,
    /// Backends of conversations whose last packets may still be on their way out.
    parting: HashMap<u16, BackendId>,
}

/// One conversation.
#[derive(Debug)]
struct Flight {
    backend: BackendId,
    source: IpAddr,
    kind: HealthKind,
    timeout: Duration,
    /// The number of its first packet, and when that is known to have left.
    letter: Option<u64>,
    sent: Option<Instant>,
    state: Talk,
}

/// How far one has come.
#[derive(Debug)]
enum Talk {
    Ping { is_answered: bool },
    Tcp(SocketHandle),
    Http { socket: SocketHandle, check: Arc<HttpCheck>, request: Option<Vec<u8>>, answer: Vec<u8> },
}

impl Talks {
    pub(super) fn new(courier: Arc<Courier>) -> Self {
        let (stacks, flights, parting) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { courier, stacks, flights, next: *courier::PORTS.start(), parting }
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Begins a conversation with `backend` at `place` as `health` says; not if too many are under way.
    pub(super) fn start(&mut self, backend: BackendId, place: &Place, health: &Health, now: Instant) -> bool {
        let Some(number) = self.number(&place.taken) else { return false };
        let stack = self.stacks.entry(place.source).or_insert_with(|| Stack::new(place.source, now));
        let mut letter = None;
        let state = match (health.kind, &health.http) {
            (HealthKind::Http, Some(check)) => {
                let request = http::request(check, place.destination, place.port);
                let Some(socket) = stack.connect(number, place, request.len()) else { return false };
                Talk::Http { socket, check: Arc::clone(check), request: Some(request), answer: Vec::new() }
            }
            (HealthKind::Tcp | HealthKind::Http, _) => {
                let Some(socket) = stack.connect(number, place, 1) else { return false };
                Talk::Tcp(socket)
            }
            (HealthKind::Icmp | HealthKind::Arp, _) => {
                letter = self.courier.send(backend, &echo::request(place.source, place.destination, number));
                if letter.is_none() {
                    return false;
                }
                Talk::Ping { is_answered: false }
            }
        };
        let Health { kind, timeout, .. } = *health;
        self.flights.insert(number, Flight { backend, source: place.source, kind, timeout, letter, sent: None, state });
        true
    }

    /// Breaks off what is under way with backends whom `is_wanted` refuses.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(BackendId) -> bool, now: Instant) {
        let over: Vec<u16> =
            self.flights.iter().filter(|(_, flight)| !is_wanted(flight.backend)).map(|(number, _)| *number).collect();
        self.finish(&over, now);
    }

    /// Goes on with all of them, and tells of those that are over.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<(BackendId, Result<(), Fault>)> {
        let (courier, stacks, flights) = (Arc::clone(&self.courier), &mut self.stacks, &mut self.flights);
        while let Some(()) = courier.receive(|packet| sort(packet, stacks, flights)) {}
        self.exchange(now);
        let mut outcomes = Vec::new();
        let mut over = Vec::new();
        for (number, flight) in &mut self.flights {
            if flight.sent.is_none() && flight.letter.is_some_and(|letter| self.courier.is_collected(letter)) {
                flight.sent = Some(now);
            }
            let outcome = flight.look(&mut self.stacks).or_else(|| flight.late(now));
            if let Some(outcome) = outcome {
                outcomes.push((flight.backend, outcome));
                over.push(*number);
            }
        }
        self.finish(&over, now);
        outcomes
    }

    /// Has the stacks take in and send what is there.
    fn exchange(&mut self, now: Instant) {
        for stack in self.stacks.values_mut() {
            stack.poll(now, |number, packet| {
                let flight = self.flights.get_mut(&number);
                let backend =
                    flight.as_ref().map(|flight| flight.backend).or_else(|| self.parting.get(&number).copied());
                let letter = backend.and_then(|backend| self.courier.send(backend, packet));
                if let Some(flight) = flight {
                    flight.letter = flight.letter.or(letter);
                }
            });
        }
    }

    /// Ends conversations in good order: a connection is reset, so that nothing is left of it on either side.
    fn finish(&mut self, numbers: &[u16], now: Instant) {
        for number in numbers {
            let Some(flight) = self.flights.remove(number) else { continue };
            self.parting.insert(*number, flight.backend);
            if let (Talk::Tcp(socket) | Talk::Http { socket, .. }, Some(stack)) =
                (flight.state, self.stacks.get_mut(&flight.source))
            {
                stack.abort(socket);
            }
        }
        self.exchange(now);
        self.parting.clear();
        for stack in self.stacks.values_mut() {
            stack.sweep();
        }
    }

    /// A number that is not in use.
    fn number(&mut self, taken: &[u16]) -> Option<u16> {
        for _ in courier::PORTS {
            let number = self.next;
            self.next = if number == *courier::PORTS.end() { *courier::PORTS.start() } else { number + 1 };
            if !self.flights.contains_key(&number) && !taken.contains(&number) {
                return Some(number);
            }
        }
        None
    }
}

/// Brings a packet to the conversation that it belongs to.
fn sort(packet: &[u8], stacks: &mut HashMap<IpAddr, Stack>, flights: &mut HashMap<u16, Flight>) {
    if let Some((to, number)) = echo::reply(packet) {
        if let Some(Flight { state: Talk::Ping { is_answered }, source, .. }) = flights.get_mut(&number)
            && *source == to
        {
            *is_answered = true;
        }
        return;
    }
    if let Some(stack) = stack::destination(packet).and_then(|address| stacks.get_mut(&address)) {
        stack.take_in(packet);
    }
}

impl Flight {
    /// What has come of it, once that is decided.
    fn look(&mut self, stacks: &mut HashMap<IpAddr, Stack>) -> Option<Result<(), Fault>> {
        match &mut self.state {
            Talk::Ping { is_answered } => is_answered.then_some(Ok(())),
            Talk::Tcp(socket) => match stacks.get_mut(&self.source)?.stand(*socket) {
                Stand::Connecting => None,
                Stand::Open | Stand::Ended => Some(Ok(())),
                Stand::Refused => Some(Err("connection refused".into())),
            },
            Talk::Http { socket, check, request, answer } => {
                let stack = stacks.get_mut(&self.source)?;
                let stand = stack.stand(*socket);
                match stand {
                    Stand::Connecting => return None,
                    Stand::Refused if request.is_some() => return Some(Err("connection refused".into())),
                    Stand::Open | Stand::Ended | Stand::Refused => {}
                }
                if let Some(request) = request.take() {
                    stack.send(*socket, &request);
                }
                stack.receive(*socket, answer, http::MOST_BYTES);
                match http::judge(check, answer, stand != Stand::Open) {
                    Judgement::Undecided => None,
                    Judgement::Right => Some(Ok(())),
                    Judgement::Wrong(what) => Some(Err(what.into())),
                }
            }
        }
    }

    /// That its time is over, once it is. The time begins when the first packet has left.
    fn late(&self, now: Instant) -> Option<Result<(), Fault>> {
        if now < self.sent? + self.timeout {
            return None;
        }
        let what = match (&self.state, self.kind) {
            (Talk::Http { request: None, .. }, _) => "HTTP",
            (Talk::Ping { .. }, _) => "ping",
            _ => "SYN",
        };
        Some(Err(format!("no answer to {what} for {}", show_duration(self.timeout)).into()))
    }
}
