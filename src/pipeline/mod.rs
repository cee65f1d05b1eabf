//! The packet path: the passes over a burst.
//!
//! ```text
//!             pass 1            pass 2, some packets ahead            pass 3
//! burst → classify, hash  →  fetch the bucket, fetch the  →  look up ─┬─ known:   track → rewrite → next hop → output
//!                            record that may match                    ├─ unknown: service → scheduler → open, then as known
//!                                                                     └─ local:   ARP and echo, answered here
//! ```
//!
//! The first two passes read and change nothing; they have memory fetched for packets whose turn comes later. All that
//! changes anything happens in the third, one packet after the other: what leaves is as if the packets had come one by
//! one.
//!
//! A [`Pipeline`] belongs to one worker. It is given bursts, the time, an [`Output`] and a [`Tracer`]; it reads no
//! clock and knows no port.

mod adjusted;
mod careful;
pub mod classify;
mod crossing;
mod errors;
mod express;
mod fragments;
mod headline;
mod inquiry;
mod known;
mod limiter;
mod local;
mod lookahead;
mod probes;
mod resets;
mod syn_proxy;
mod trace;
mod tunnel;
mod unknown;
mod upkeep;

#[cfg(test)]
mod tests;

pub use headline::flow_of;
pub use trace::{End, Narrator, Note, Silent, Story, Tracer};

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::conntrack::{Candidate, ClientLink, ClientLoads, ConnectionIndex, Conntrack, FlowMemory, Persistence};
use crate::counters::{DropReason, PerWorker, WorkerCounters};
use crate::courier::Courier;
use crate::flow::{FlowHasher, PackedKey, PackedKey4, PackedKey6};
use crate::forward;
use crate::fragment::Gathering;
use crate::id::{PortId, WorkerId};
use crate::io::{BURST, Burst, Output, Packet};
use crate::neighbor::{Hop, Neighbor, Resolver, Waiting};
use crate::scheduler::Turn;
use crate::service::{ClientTable, Exit, Snapshot};
use crate::steering::Steering;
use crate::syncookie::Cookies;
use crate::time::Instant;
use crate::wire::{MacAddr, ethernet, ip, ipv4, ipv6};
use classify::{Class, Classes, Headers};
use express::{Common, Version};
use fragments::Lead;
use limiter::Limiter;
use lookahead::Lookahead;
use syn_proxy::Guard;
use unknown::Beginning;

/// The numbers that services can have.
const MOST_SERVICES: usize = 1 << u16::BITS;

/// Connections that one round of upkeep does something for.
const MOST_ERRANDS: usize = 256;

/// One worker's part of the packet path.
pub struct Pipeline<P> {
    id: WorkerId,
    workers: u16,
    steering: Steering,
    hasher: FlowHasher,
    counters: PerWorker<WorkerCounters>,
    conntrack: Conntrack,
    persistence: Persistence,
    flow_memory: FlowMemory,
    clients: Persistence,
    loads: ClientLoads,
    /// For how many ticks after its last packet a client of `nat` is known.
    client_idle: u32,
    turns: Vec<Turn>,
    /// By service, what is known of attacks on it.
    guards: Vec<Guard>,
    cookies: Cookies,
    /// Connections for which something may have to be done.
    errands: ArrayVec<ConnectionIndex, MOST_ERRANDS>,
    waiting: Waiting<P>,
    resolver: Resolver,
    next_upkeep: Instant,
    /// The identification of the next outer header.
    identification: u16,
    errors: Limiter,
    courier: Arc<Courier>,
    gathering: Gathering<P>,
    /// The connection that was opened last, if it is still there.
    opened: Option<ConnectionIndex>,
    /// By the worker that gathers them: how the first fragment of the last packet went.
    leads: Vec<Option<Lead>>,
    /// The identification of the next packet of which there are fragments.
    fragment_identification: u32,
    /// Whether the packets that are processed come from other workers.
    is_taking_over: bool,
}

/// What a pipeline is made of.
#[derive(Debug)]
pub struct Settings {
    /// Which worker it is for.
    pub id: WorkerId,
    /// Which worker owns which flows; the same for all workers.
    pub steering: Steering,
    /// The hash of flows; the same for all workers.
    pub hasher: FlowHasher,
    /// Its connection table.
    pub conntrack: Conntrack,
    /// Its clients that keep their backends.
    pub persistence: Persistence,
    /// Its flows that find their old backends.
    pub flow_memory: FlowMemory,
    /// The clients of its `nat` connections, each under the one service number 0.
    pub clients: Persistence,
    /// What its clients have, where that is limited.
    pub loads: ClientLoads,
    /// What it makes SYN cookies with; the same for all workers.
    pub cookies: Cookies,
    /// The counters of all workers; it writes its own part.
    pub counters: PerWorker<WorkerCounters>,
    /// The way to and from the health checkers; the first worker uses it.
    pub courier: Arc<Courier>,
}

/// What the first two passes found out about a packet of a flow.
#[derive(Clone, Copy)]
struct Flow<'a> {
    headers: &'a Headers,
    /// The hash of its key.
    hash: u64,
}

/// What every step needs to know, and where its results go.
#[derive(Debug)]
pub struct Context<'a, O, T> {
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// When it is.
    pub now: Instant,
    /// Where packets go.
    pub output: &'a mut O,
    /// Who is told what becomes of them.
    pub tracer: &'a mut T,
}

impl<P: Packet> Pipeline<P> {
    /// A pipeline that must [`adopt`](Self::adopt) a snapshot before it can do anything.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            id,
            steering,
            hasher,
            conntrack,
            persistence,
            flow_memory,
            clients,
            loads,
            cookies,
            counters,
            courier,
        } = settings;
        Self {
            id,
            workers: steering.workers(),
            hasher,
            counters,
            conntrack,
            persistence,
            flow_memory,
            clients,
            loads,
            client_idle: 0,
            // Room for every service that there can be: a new configuration takes no memory. It is committed when used.
            turns: Vec::with_capacity(MOST_SERVICES),
            guards: Vec::with_capacity(MOST_SERVICES),
            cookies,
            errands: ArrayVec::new(),
            waiting: Waiting::default(),
            resolver: Resolver::default(),
            next_upkeep: Instant::ZERO,
            identification: id.0,
            errors: Limiter::default(),
            courier,
            gathering: Gathering::default(),
            opened: None,
            leads: vec![None; usize::from(steering.workers())],
            fragment_identification: id.0.into(),
            is_taking_over: false,
            steering,
        }
    }

    /// Takes a burst that other workers have handed over through all passes and leaves it empty.
    pub fn take_over<O: Output<P>, T: Tracer>(&mut self, burst: &mut Burst<P>, context: &mut Context<'_, O, T>) {
        self.is_taking_over = true;
        self.process(burst, context);
        self.is_taking_over = false;
    }

    /// Takes `burst` through all passes and leaves it empty.
    pub fn process<O: Output<P>, T: Tracer>(&mut self, burst: &mut Burst<P>, context: &mut Context<'_, O, T>) {
        self.release(context);
        for packet in burst.iter() {
            packet.prefetch();
        }
        let mut classes = Classes::<BURST>::default();
        let mut ingress = LastPort::default();
        for packet in burst.iter() {
            classes.classify(packet, ingress.turn_to(context.snapshot, packet.ingress()).mac);
        }
        if let Some(clients) = context.snapshot.clients() {
            deny(burst, classes.each_mut(), clients);
        }
        let (classes, wide) = (classes.each(), classes.wide());
        let mut hashes = [0; BURST];
        self.hasher.hash_each(hashes.iter_mut().zip(classes).filter_map(|(hash, class)| match class {
            Class::Flow(Headers { packed: PackedKey::V4(key), .. }) => Some((hash, key)),
            _ => None,
        }));
        if wide != 0 {
            self.hash_wide(&mut hashes, classes);
        }
        if wide.count_ones() as usize * 2 > classes.len() {
            self.pass_on::<PackedKey6, O, T>(burst, classes, wide, &hashes, context);
        } else {
            self.pass_on::<PackedKey4, O, T>(burst, classes, wide, &hashes, context);
        }
    }

    /// The second and third pass, for a burst whose packets are mostly of one version of IP. It exists once for each, because a loop in
    /// which both have their place serves neither as well.
    #[inline(never)]
    fn pass_on<K: Version, O: Output<P>, T: Tracer>(
        &mut self,
        burst: &mut Burst<P>,
        classes: &ArrayVec<Class, BURST>,
        wide: u64,
        hashes: &[u64; BURST],
        context: &mut Context<'_, O, T>,
    ) {
        let mut ahead = Lookahead::<K>::start(hashes, classes.len(), wide, &self.conntrack);
        let mut common = Common::new(context.now.tick());
        let mut packets = burst.drain(..);
        for (at, class) in classes.iter().enumerate() {
            let Some(packet) = packets.next() else { break };
            let (hash, candidate) = ahead.candidate(at, &self.conntrack);
            if let Class::Flow(headers) = class
                && headers.is_plain
                && !T::ENABLED
            {
                let flow = Flow { headers, hash };
                let left = match K::of(&headers.packed) {
                    Some(key) => self.express::<false, _, _, _>(packet, key, flow, candidate, &mut common, context),
                    None => self.express_either(packet, flow, candidate, &mut common, context),
                };
                match left {
                    None => {}
                    Some(packet) => self.finish(packet, class, hash, candidate, context),
                }
            } else {
                self.finish(packet, class, hash, candidate, context);
            }
        }
    }

    /// Puts the hashes of IPv6 keys in their places.
    #[inline(never)]
    fn hash_wide(&self, hashes: &mut [u64; BURST], classes: &ArrayVec<Class, BURST>) {
        self.hasher.hash_each(hashes.iter_mut().zip(classes).filter_map(|(hash, class)| match class {
            Class::Flow(Headers { packed: PackedKey::V6(key), .. }) => Some((hash, key)),
            _ => None,
        }));
    }

    /// The third pass's part for a packet that may need anything.
    #[inline(never)]
    fn finish<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        class: &Class,
        hash: u64,
        candidate: Candidate,
        context: &mut Context<'_, O, T>,
    ) {
        if T::ENABLED {
            context.tracer.arrived(packet.data(), packet.ingress());
        }
        match class {
            Class::Flow(headers) => {
                let flow = Flow { headers, hash };
                match self.conntrack.verify(candidate, &headers.packed, hash) {
                    Some((index, direction)) => self.known(packet, flow, index, direction, context),
                    None => self.unknown(packet, flow, Beginning::New, context),
                }
            }
            Class::IcmpError { message } => self.icmp_error(packet, *message, context),
            Class::Ndp { message } => self.hear_ndp(packet, *message, context),
            Class::Fragment => self.fragment(packet, context),
            Class::Arp => self.hear(packet, context),
            Class::Drop(reason) => self.drop(packet, *reason, context),
        }
    }

    /// Takes in a message of neighbour discovery, which starts at `message`.
    #[cold]
    fn hear_ndp<O: Output<P>, T: Tracer>(&mut self, packet: P, message: u8, context: &mut Context<'_, O, T>) {
        self.ndp(packet, message.into(), context);
        self.release(context);
    }

    /// Takes in an ARP message.
    #[cold]
    fn hear<O: Output<P>, T: Tracer>(&mut self, packet: P, context: &mut Context<'_, O, T>) {
        self.arp(packet, context);
        // What it may have told lets the packets that wait for it go before those that follow.
        self.release(context);
    }

    /// Sends `packet` out to `hop`. Like all that ends here, it says whether the packet was passed on, and not dropped.
    #[inline(always)]
    fn send<O: Output<P>, T: Tracer>(&mut self, mut packet: P, hop: Hop, context: &mut Context<'_, O, T>) -> bool {
        let Some(port) = context.snapshot.port(hop.port) else {
            self.drop(packet, DropReason::NeighborUnresolved, context);
            return false;
        };
        if packet.frame_len() > ethernet::HEADER_LEN + usize::from(port.mtu) {
            self.drop(packet, DropReason::TooLong, context);
            return false;
        }
        forward::address(packet.data_mut(), hop, port.mac);
        if T::ENABLED {
            context.tracer.ended(packet.data(), End::Transmitted(hop));
        }
        context.output.transmit(packet, hop.port);
        true
    }

    /// Sends `packet` to `neighbor`, but not before those that wait for it.
    #[inline(always)]
    fn send_in_turn<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        neighbor: &Arc<Neighbor>,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        match neighbor.hop() {
            Some(hop) if self.waiting.is_empty() || !self.waiting.any_for(neighbor) => self.send(packet, hop, context),
            _ => self.hold(packet, neighbor, context),
        }
    }

    /// Keeps `packet` until `neighbor` has answered. It is taken as passed on from then on.
    #[cold]
    fn hold<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        neighbor: &Arc<Neighbor>,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        neighbor.want(self.id);
        match self.waiting.push(packet, neighbor, context.now) {
            Ok(packet) => {
                if T::ENABLED {
                    context.tracer.ended(packet.data(), End::Held(neighbor.address()));
                }
                true
            }
            Err(packet) => {
                self.drop(packet, DropReason::NeighborQueueFull, context);
                false
            }
        }
    }

    /// Gives `packet`, as it came, to the worker that owns its flow.
    fn hand_over<O: Output<P>, T: Tracer>(&mut self, packet: P, to: WorkerId, context: &mut Context<'_, O, T>) {
        match context.output.hand_over(packet, to) {
            Ok(()) => {
                // It left as it had come: nothing of it was changed.
                context.tracer.ended(&[], End::HandedOver(to));
                self.count().handed_over.add(1);
            }
            Err(packet) => self.drop(packet, DropReason::HandOverFull, context),
        }
    }

    #[cold]
    fn drop<O: Output<P>, T: Tracer>(&self, packet: P, reason: DropReason, context: &mut Context<'_, O, T>) {
        if T::ENABLED {
            context.tracer.ended(packet.data(), End::Dropped(reason));
        }
        self.count().drops.add(reason, 1);
        context.output.discard(packet);
    }

    /// This worker's counters.
    #[inline(always)]
    fn count(&self) -> &WorkerCounters {
        &self.counters[self.id.index()]
    }
}

/// The IP header of `packet`, if it is long enough to have one.
fn ip_of<P: Packet>(packet: &P) -> Option<ip::Header<'_>> {
    packet.data().get(ethernet::HEADER_LEN..).and_then(ip::Header::new)
}

/// The IPv4 header of `packet`, to change.
fn ipv4_mut<P: Packet>(packet: &mut P) -> Option<ipv4::HeaderMut<'_>> {
    packet.data_mut().get_mut(ethernet::HEADER_LEN..).and_then(ipv4::HeaderMut::new)
}

/// The IPv6 header of `packet`, to change.
fn ipv6_mut<P: Packet>(packet: &mut P) -> Option<ipv6::HeaderMut<'_>> {
    packet.data_mut().get_mut(ethernet::HEADER_LEN..).and_then(ipv6::HeaderMut::new)
}

/// The way back to a client.
#[inline(always)]
fn hop(link: ClientLink) -> Hop {
    Hop { mac: link.mac(), port: PortId(link.port().into()) }
}

/// Has the packets of clients that are not served dropped.
#[inline(never)]
fn deny<P: Packet>(burst: &[P], classes: &mut [Class], clients: &ClientTable) {
    for (packet, class) in burst.iter().zip(classes) {
        if is_denied(clients, packet, class) {
            *class = Class::Drop(DropReason::ClientDenied);
        }
    }
}

/// Whether `packet` comes from a client that is not served.
#[inline]
fn is_denied<P: Packet>(clients: &ClientTable, packet: &P, class: &Class) -> bool {
    match class {
        Class::Flow(headers) => clients.denies(headers.key().src),
        Class::IcmpError { .. } | Class::Fragment => ip_of(packet).is_some_and(|ip| clients.denies(ip.source())),
        Class::Arp | Class::Ndp { .. } | Class::Drop(_) => false,
    }
}

/// What is known of the port that the last packet came in on, or left by: nearly always that of the next one, too.
struct LastPort {
    /// At first one that no packet comes in on or leaves by.
    port: PortId,
    exit: Exit,
}

impl Default for LastPort {
    fn default() -> Self {
        Self { port: PortId(u16::MAX), exit: Exit::NONE }
    }
}

impl LastPort {
    /// What is known of `port`.
    #[inline(always)]
    fn turn_to(&mut self, snapshot: &Snapshot, port: PortId) -> Exit {
        if self.port != port {
            *self = Self { port, exit: look_up(snapshot, port) };
        }
        self.exit
    }
}

#[cold]
#[inline(never)]
fn look_up(snapshot: &Snapshot, port: PortId) -> Exit {
    snapshot.exit(port)
}

/// leat's Ethernet address on `port`.
fn mac(snapshot: &Snapshot, port: PortId) -> MacAddr {
    snapshot.port(port).map_or(MacAddr::default(), |port| port.mac)
}
