//! Packets that belong to no connection: new ones are opened, the rest is told apart and dropped.
//!
//! With several workers, each flow belongs to one. Which one is a function of the packet: of its 5-tuple, as [`Steering`]
//! says, or of the client's address alone where that ties its connections together. A packet that arrives on another
//! worker is handed over before anything is looked up twice.
//!
//! [`Steering`]: crate::steering::Steering

use std::net::IpAddr;

use super::classify::{Headers, Kind};
use super::known::{NAT_CLIENTS, link, segment};
use super::syn_proxy::Handshake;
use super::{Context, Flow, Note, Pipeline, Tracer};
use crate::conntrack::{
    Adjustment, Connection, ConnectionIndex, Numbers, OpenError, Opened, Opening, Predecessor, Reached, Segment,
    Source, Stamp,
};
use crate::counters::DropReason;
use crate::flow::{FlowKey, Protocol};
use crate::forward;
use crate::id::{BackendId, ServiceId, WorkerId};
use crate::inquiry::Grounds;
use crate::io::{Output, Packet};
use crate::scheduler::{Choice, Turn};
use crate::service::{Backend, ClientAddress, Mode, NoConnection, SequenceNumbers, Service, Snapshot, SynProxy};
use crate::time::Tick;
use crate::wire::{ip, tcp};

/// How many more choices of the scheduler's are asked for when a backend has as many connections as it may.
const OTHER_CHOICES: u32 = 8;

/// How a connection comes to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Nobody knew the flow. The client's own port is its source port if it is free.
    New,
    /// A connection of the same tuple was over.
    Again {
        /// Its source port, if the new one is to have it.
        port: Option<u16>,
        /// What its backend may hold against the new one, which must have other numbers then.
        before: Option<Predecessor>,
    },
    /// The connection's backend has failed. It need not begin with a SYN.
    Moved,
}

impl<P: Packet> Pipeline<P> {
    /// A packet that is in no connection of this worker's.
    #[inline(never)]
    pub(super) fn unknown<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        flow: Flow<'_>,
        beginning: Beginning,
        context: &mut Context<'_, O, T>,
    ) {
        let key = &flow.headers.key();
        if context.snapshot.is_probe_answer(key) {
            return self.take_answer(packet, flow.headers, context);
        }
        if !ip::is_station(key.src) {
            return self.drop(packet, wrong_source(key.src), context);
        }
        if context.snapshot.owns_anywhere(key.src) {
            let is_gue = flow.headers.kind == Kind::Udp && context.snapshot.is_gue_port(key.dst_port);
            let reason = if is_gue { DropReason::Tunnel } else { wrong_source(key.src) };
            return self.drop(packet, reason, context);
        }
        let service = if flow.headers.kind == Kind::EchoReply { None } else { context.snapshot.service_for(key) };
        match service {
            Some(id) => self.original(packet, flow, beginning, id, context),
            None => self.not_for_a_service(packet, flow.headers, context),
        }
    }

    /// A client's packet to a service, of a connection that this worker does not have.
    fn original<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        flow: Flow<'_>,
        beginning: Beginning,
        id: ServiceId,
        context: &mut Context<'_, O, T>,
    ) {
        let snapshot = context.snapshot;
        let Some(service) = snapshot.service(id) else {
            return self.drop(packet, DropReason::NoService, context);
        };
        context.tracer.note(Note::Service(service));
        let owner = self.owner_of_original(&flow.headers.key(), flow.hash, service);
        if owner != self.id {
            return self.hand_over(packet, owner, context);
        }
        if service.is_removed {
            return self.drop(packet, DropReason::NoService, context);
        }
        let headers = flow.headers;
        let mut segment = segment(&packet, headers);
        let handshake = match &segment {
            Some(segment) if service.syn_proxy != SynProxy::Off => self.redeem(&packet, headers, segment, context),
            _ => None,
        };
        if let Some(handshake) = &handshake {
            segment = Some(handshake.syn);
        }
        if let Some(reason) = objection(headers, segment.as_ref(), beginning, service, snapshot) {
            return self.turn_away(packet, headers, service, reason, context);
        }
        let Some(link) = link(&packet) else {
            return self.drop(packet, DropReason::EthernetSource, context);
        };
        if handshake.is_none() && headers.is_syn && self.answers_syn(id, service) {
            return self.answer_with_cookie(packet, headers, service, context);
        }
        let tick = context.now.tick();
        if let Some(reason) = self.limit_reached(id, service, headers.key().src, tick) {
            return self.drop(packet, reason, context);
        }
        let chosen = self.choose(flow, id, service, tick, context);
        let Some((chosen, backend)) = chosen.and_then(|id| Some((id, snapshot.backend(id)?))) else {
            let all_full = snapshot.takes_connections(id);
            let reason = if all_full { DropReason::BackendsFull } else { DropReason::NoBackend };
            return self.drop(packet, reason, context);
        };
        let is_one_packet = service.one_packet && headers.kind == Kind::Udp;
        let is_whole = || !forward::is_fragment(packet.data());
        if is_one_packet && service.mode.is_one_way() && is_whole() {
            // Nothing of it will be needed again. Other fragments would follow the first.
            backend.counters[self.id.index()].opened.add(1);
            service.counters[self.id.index()].opened.add(1);
            return self.forward_original(packet, flow, &headers.packed, backend, context);
        }
        let numbers = match &segment {
            Some(syn) => numbers(&packet, headers, syn, handshake.as_ref(), beginning, service),
            None => None,
        };
        let opening = Opening {
            original: headers.key(),
            hash: flow.hash,
            backend: chosen,
            backend_address: backend.address,
            backend_port: backend.port,
            source: match service.mode {
                Mode::Fullnat => Source::Local {
                    addresses: &service.local_addresses,
                    preferred_port: match beginning {
                        Beginning::New | Beginning::Moved => Some(headers.key().src_port),
                        Beginning::Again { port, before } => port.filter(|_| before.is_none() || numbers.is_some()),
                    },
                },
                Mode::Nat => Source::Client,
                Mode::Dr | Mode::Ipip | Mode::Gue => Source::ClientDirectly,
            },
            link,
            segment: segment.as_ref(),
            is_one_packet,
            numbers,
            adjustment: match &handshake {
                Some(handshake) => Some(handshake.adjustment(service, &headers.key())),
                None => segment
                    .filter(|_| service.client_address != ClientAddress::Hidden)
                    .map(|segment| Adjustment::of_service(service, &headers.key(), segment.seq)),
            },
            now: tick,
        };
        let opened = match self.open(opening, backend, context) {
            Ok(opened) => opened,
            Err(reason) => return self.drop(packet, reason, context),
        };
        self.opened = Some(opened.index);
        if let Some(ended) = &opened.ended {
            self.take_leave(ended, context);
        }
        self.welcome(opened.index, id, service, backend, tick);
        if T::ENABLED && service.mode == Mode::Fullnat {
            let reply = self.conntrack.connection(opened.index).reply_key();
            let kept = reply.dst_port == headers.key().src_port;
            context.tracer.note(Note::Source { address: reply.dst, port: reply.dst_port, kept });
        }
        if let Some(handshake) = &handshake {
            return self.begin(packet, opened.index, handshake, backend, context);
        }
        let connection = self.conntrack.connection(opened.index);
        let to = connection.reply_key().reversed().pack();
        if connection.is_adjusted() {
            let Some(packet) = self.for_backend(packet, flow, opened.index, backend, context) else { return };
            return self.forward_original(packet, flow, &to, backend, context);
        }
        self.forward_original(packet, flow, &to, backend, context);
    }

    /// A client's packet that must not open a connection, for `reason`.
    #[cold]
    fn turn_away<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        service: &Service,
        reason: DropReason,
        context: &mut Context<'_, O, T>,
    ) {
        match reason {
            DropReason::NoConnection if service.no_connection == NoConnection::Reset => {
                const WHAT: &str = "a RST, because it belongs to no connection";
                self.reset_client(packet, headers, WHAT, reason, context);
            }
            DropReason::Ipv4Ttl | DropReason::Ipv6HopLimit => self.expire(packet, context),
            _ => self.drop(packet, reason, context),
        }
    }

    /// Opens a connection with `backend`, if need be with the source port of one that is half-open.
    fn open<O: Output<P>, T: Tracer>(
        &mut self,
        mut opening: Opening<'_>,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) -> Result<Opened, DropReason> {
        let mut opened = self.conntrack.open(&opening);
        if matches!(opened, Err(OpenError::PortsExhausted))
            && let Some((evicted, predecessor)) = self.conntrack.evict_for_port(&opening)
        {
            self.take_leave(&evicted, context);
            if evicted.protocol() == Protocol::Tcp {
                // Its backend may still wait for the client's ACK, and would not take another's SYN on the same tuple.
                self.reset_backend(evicted.reply_key().reversed(), predecessor.end(), backend, context);
            }
            opening.numbers = opening.numbers.map(|numbers| Numbers { before: Some(predecessor), ..numbers });
            opened = self.conntrack.open(&opening);
        }
        opened.map_err(|error| match error {
            OpenError::TableFull => DropReason::TableFull,
            OpenError::PortsExhausted => DropReason::PortsExhausted,
            OpenError::TupleInUse => DropReason::TupleInUse,
        })
    }

    /// Counts the new connection at `index`, and notes its client where somebody will ask for it.
    fn welcome(&mut self, index: ConnectionIndex, id: ServiceId, service: &Service, backend: &Backend, tick: Tick) {
        let connection = self.conntrack.connection(index);
        let (client, chosen, state) = (connection.original_key().src, connection.backend(), connection.state());
        let (counters, of_service) = (&backend.counters[self.id.index()], &service.counters[self.id.index()]);
        counters.opened.add(1);
        of_service.opened.add(1);
        // One that begins with the client's FIN, in a mode that takes it over from another instance, is over already.
        if state.is_open() {
            counters.open.add(1);
            of_service.open.add(1);
            if service.client_limits.is_any() {
                self.loads.opened(id, client, tick);
            }
        }
        counters.connections.add(1);
        if state.is_opening() {
            self.guard(id).half_open += 1;
        }
        if let Some(idle) = service.persistence {
            self.persistence.insert(id, client, chosen, idle, tick);
        }
        if service.mode == Mode::Nat {
            self.clients.insert(NAT_CLIENTS, client, chosen, self.client_idle, tick);
        }
    }

    /// Which limit of the service's or the client's a new connection would pass, if any.
    fn limit_reached(&self, id: ServiceId, service: &Service, client: IpAddr, tick: Tick) -> Option<DropReason> {
        if service.client_limits.is_any() {
            match self.loads.admits(id, client, service.client_limits, tick) {
                Ok(()) => {}
                Err(Reached::Connections) => return Some(DropReason::ClientFull),
                Err(Reached::Rate) => return Some(DropReason::ClientRate),
            }
        }
        service.limit_reached(self.id, tick)
    }

    /// Counts a connection that has gone to make room for another, or for its port.
    fn take_leave<O, T>(&mut self, ended: &Connection, context: &Context<'_, O, T>) {
        let tick = context.now.tick();
        self.forget(context.snapshot, ended, tick);
        if ended.state().is_half_open() && !self.conntrack.is_over(ended, tick) {
            self.count().half_open_evicted.add(1);
        } else {
            self.count().ports_reused.add(1);
        }
    }

    /// The backend for a new connection: the one that its client or flow had before, if that is still in service, or
    /// the scheduler's choice.
    fn choose<O, T: Tracer>(
        &mut self,
        flow: Flow<'_>,
        id: ServiceId,
        service: &Service,
        tick: Tick,
        context: &mut Context<'_, O, T>,
    ) -> Option<BackendId> {
        let snapshot = context.snapshot;
        let mut turn = self.turns.get(id.index()).copied()?;
        let (chosen, grounds) = self.select(&flow.headers.key(), flow.hash, id, service, tick, snapshot, &mut turn)?;
        *self.turns.get_mut(id.index())? = turn;
        let backend = snapshot.backend(chosen)?;
        let (address, port) = (backend.address, backend.port);
        context.tracer.note(match grounds {
            Grounds::Remembered => Note::Remembered(address, port),
            Grounds::Persistent => Note::Persistent(address, port),
            Grounds::Instead(full) => {
                let full = snapshot.backend(full)?;
                Note::Instead { address, port, full: (full.address, full.port) }
            }
            Grounds::Chosen(why) => Note::Chosen { address, port, why },
        });
        Some(chosen)
    }

    /// The backend that a new connection would get now, and why; `turn` moves on if the scheduler is asked.
    #[expect(clippy::too_many_arguments, reason = "all that a choice may depend on")]
    pub(super) fn select(
        &self,
        key: &FlowKey,
        hash: u64,
        id: ServiceId,
        service: &Service,
        tick: Tick,
        snapshot: &Snapshot,
        turn: &mut Turn,
    ) -> Option<(BackendId, Grounds)> {
        let is_usable = |chosen: &BackendId| {
            let may = |backend: &Backend| {
                backend.service == id && backend.takes_connections() && !backend.is_full(self.id, tick)
            };
            snapshot.backend(*chosen).is_some_and(may)
        };
        if service.flow_memory.is_some()
            && let Some(chosen) = self.flow_memory.find(hash, tick).filter(is_usable)
        {
            return Some((chosen, Grounds::Remembered));
        }
        if service.persistence.is_some()
            && let Some(chosen) = self.persistence.find(id, key.src, tick).filter(is_usable)
        {
            return Some((chosen, Grounds::Persistent));
        }
        let open = |backend| snapshot.backend(backend).map_or(0, |backend| backend.open());
        let Choice { backend, why } = service.schedule.choose(key, turn, open)?;
        if snapshot.backend(backend).is_some_and(|backend| backend.is_full(self.id, tick)) {
            return Some((choose_another(key, service, turn, open, is_usable)?, Grounds::Instead(backend)));
        }
        Some((backend, Grounds::Chosen(why)))
    }

    /// A packet that no client sent to a service.
    fn not_for_a_service<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        context: &mut Context<'_, O, T>,
    ) {
        let (key, snapshot) = (&headers.key(), context.snapshot);
        if !snapshot.owns(key.dst, packet.ingress()) {
            return self.not_for_leat(packet, headers, context);
        }
        if headers.kind == Kind::EchoRequest && snapshot.is_silent(key.dst) {
            return self.drop(packet, DropReason::VipWithdrawn, context);
        }
        if headers.kind == Kind::EchoRequest {
            return self.echo(packet, headers, context);
        }
        if headers.kind == Kind::Udp && snapshot.is_gue_port(key.dst_port) && !snapshot.is_local(key.dst) {
            return self.drop(packet, DropReason::Tunnel, context);
        }
        if !snapshot.is_local(key.dst) || !snapshot.is_backend(key.src) {
            return self.drop(packet, DropReason::NoService, context);
        }
        match self.steering.owner_of_reply(key) {
            owner if owner == self.id => self.drop(packet, DropReason::StrayReply, context),
            owner => self.hand_over(packet, owner, context),
        }
    }

    /// A packet to an address that is not leat's. In `nat` that is what answers look like.
    fn not_for_leat<O: Output<P>, T: Tracer>(&mut self, packet: P, headers: &Headers, context: &mut Context<'_, O, T>) {
        let key = &headers.key();
        let Some(answers) = context.snapshot.nat_answers(key) else {
            return self.drop(packet, DropReason::NotOurAddress, context);
        };
        match self.owner_of_client(key.dst) {
            owner if owner != self.id => self.hand_over(packet, owner, context),
            _ if answers => self.drop(packet, DropReason::StrayReply, context),
            _ => self.drop(packet, DropReason::NotRouted, context),
        }
    }

    /// The worker that has the connections of a client's flow. In `nat` it is told by the client's address, because an
    /// answer carries nothing of leat's.
    pub(super) fn owner_of_original(&self, key: &FlowKey, hash: u64, service: &Service) -> WorkerId {
        if service.by_client {
            return self.owner_of_client(key.src);
        }
        self.steering.owner_of_original(key, hash)
    }

    /// The worker that has what belongs to a client's address.
    pub(super) fn owner_of_client(&self, client: IpAddr) -> WorkerId {
        self.steering.owner_of_hash(self.hasher.hash_address(client))
    }
}

/// Why a packet with this source is dropped, which no packet may have.
pub(super) const fn wrong_source(source: IpAddr) -> DropReason {
    match source {
        IpAddr::V4(_) => DropReason::Ipv4Source,
        IpAddr::V6(_) => DropReason::Ipv6Source,
    }
}

/// Why a packet from this source is dropped that may pass no further router.
pub(super) const fn hops_ended(source: IpAddr) -> DropReason {
    match source {
        IpAddr::V4(_) => DropReason::Ipv4Ttl,
        IpAddr::V6(_) => DropReason::Ipv6HopLimit,
    }
}

/// A backend in place of the scheduler's choice, which has as many connections as it may: what the scheduler says of flows that
/// are nearly this one, and after some of these, the first that has room.
#[cold]
fn choose_another(
    key: &FlowKey,
    service: &Service,
    turn: &mut Turn,
    open: impl Fn(BackendId) -> u64 + Copy,
    is_usable: impl Fn(&BackendId) -> bool,
) -> Option<BackendId> {
    let mut others = (1..=OTHER_CHOICES).filter_map(|number| {
        let other = number.wrapping_mul(0x9e37_79b9);
        let src = match key.src {
            IpAddr::V4(src) => IpAddr::V4((src.to_bits() ^ other).into()),
            IpAddr::V6(src) => IpAddr::V6((src.to_bits() ^ u128::from(other)).into()),
        };
        let flow = FlowKey { src, ..*key };
        Some(service.schedule.choose(&flow, turn, open)?.backend)
    });
    others
        .find(|backend| is_usable(backend))
        .or_else(|| service.backends.iter().copied().find(|backend| is_usable(backend)))
}

/// The numbers of a client's SYN, where its service lets them be others for the backend.
fn numbers<'p, P: Packet>(
    packet: &'p P,
    headers: &Headers,
    segment: &Segment,
    handshake: Option<&Handshake>,
    beginning: Beginning,
    service: &Service,
) -> Option<Numbers<'p>> {
    if service.mode != Mode::Fullnat || service.sequence_numbers == SequenceNumbers::Client {
        return None;
    }
    let timestamp = match handshake {
        Some(handshake) => Stamp::Is(handshake.timestamp()),
        None => Stamp::In(packet.data().get(usize::from(headers.transport)..).unwrap_or_default()),
    };
    let before = match beginning {
        Beginning::Again { before, .. } => before,
        Beginning::New | Beginning::Moved => None,
    };
    let always = service.sequence_numbers == SequenceNumbers::Own;
    Some(Numbers { always, sequence: segment.seq, timestamp, before })
}

/// Why a client's packet must not open a connection, if there is a reason.
fn objection(
    headers: &Headers,
    segment: Option<&Segment>,
    beginning: Beginning,
    service: &Service,
    snapshot: &Snapshot,
) -> Option<DropReason> {
    if service.mode.translates() && headers.ttl <= 1 {
        return Some(hops_ended(headers.key().src));
    }
    if service.mode == Mode::Nat && snapshot.is_backend_of(headers.key().src, service) {
        return Some(DropReason::BackendAsClient);
    }
    let flags = tcp::Flags(segment?.flags);
    let may_be_picked_up = beginning == Beginning::Moved || service.no_connection == NoConnection::Schedule;
    let can_be_picked_up = flags.contains(tcp::Flags::ACK) && !flags.intersects(tcp::Flags::SYN.or(tcp::Flags::RST));
    let opens = flags.opens() || may_be_picked_up && can_be_picked_up;
    (!opens).then_some(DropReason::NoConnection)
}
