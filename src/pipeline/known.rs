//! Packets of connections that are known: the fast path.

use std::net::IpAddr;

use super::classify::{Headers, Kind};
use super::crossing::Onward;
use super::syn_proxy::Guard;
use super::unknown::Beginning;
use super::{Context, Flow, Note, Pipeline, Tracer, hop, ip_of};
use crate::conntrack::{
    Change, ClientLink, ClientLoads, Connection, ConnectionIndex, Direction, FlowMemory, Path, Segment,
};
use crate::counters::DropReason;
use crate::flow::{FlowHasher, PackedKey};
use crate::forward;
use crate::id::{PortId, ServiceId, WorkerId};
use crate::io::{Output, Packet};
use crate::neighbor::Hop;
use crate::service::{Backend, Forwarding, OnFailure, Snapshot};
use crate::time::Tick;
use crate::wire::{ethernet, tcp};

/// Under which service number the clients of `nat` are known: they are known to the worker, whatever the service.
pub(super) const NAT_CLIENTS: ServiceId = ServiceId(0);

impl<P: Packet> Pipeline<P> {
    /// A packet in `direction` of the connection at `index`.
    #[inline(always)]
    pub(super) fn known<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        flow: Flow<'_>,
        index: ConnectionIndex,
        direction: Direction,
        context: &mut Context<'_, O, T>,
    ) {
        let (snapshot, tick) = (context.snapshot, context.now.tick());
        let mut met = self.conntrack.meet(index);
        // The one-way modes leave the packet as it is.
        if met.connection().has_replies() && flow.headers.ttl <= 1 {
            return self.expire(packet, context);
        }
        if met.is_over(tick) {
            return self.over(packet, flow, index, context);
        }
        let Some(backend) = snapshot.backend(met.connection().backend()) else {
            return self.drop(packet, DropReason::NoBackend, context);
        };
        if direction == Direction::Original && !backend.up && is_abandoned(snapshot, backend) {
            return self.abandoned(packet, flow, index, context);
        }
        let (is_adjusted, was_opening) = (met.connection().is_adjusted(), met.connection().state().is_opening());
        let packet = if is_adjusted && direction == Direction::Reply {
            let Some(packet) = self.for_client(packet, flow, index, backend, context) else { return };
            met = self.conntrack.meet(index);
            packet
        } else {
            packet
        };
        let tracked = met.track(direction, segment(&packet, flow.headers).as_ref(), tick);
        let connection = met.connection();
        let (to, link) = (met.leaving_either(direction), connection.link());
        if let Some(change) = tracked.change {
            self.conntrack.settle(index, change);
            if let Change::Reopen { keep_port } = change {
                return self.reopen(packet, flow, index, keep_port, context);
            }
            self.count_change(index, backend, change, snapshot);
        }
        if was_opening {
            self.note_opened(index, backend);
        }
        if T::ENABLED {
            self.tell(index, direction, backend, tracked.in_window, context);
        }
        // Once a tick is often enough to say that the client is still there.
        if tracked.first_in_tick && backend.remembers_clients {
            self.touch_client(snapshot, index, tick);
        }
        match direction {
            Direction::Original => {
                if tracked.in_window && !comes_from(&packet, link) {
                    self.follow(&packet, index);
                }
                let packet = if is_adjusted {
                    let Some(packet) = self.for_backend(packet, flow, index, backend, context) else { return };
                    packet
                } else {
                    packet
                };
                self.forward_original(packet, flow, &to, backend, context);
            }
            Direction::Reply => self.forward_reply(packet, flow, &to, link, backend, context),
        }
    }

    /// A packet of a connection whose time is over.
    #[cold]
    fn over<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        flow: Flow<'_>,
        index: ConnectionIndex,
        context: &mut Context<'_, O, T>,
    ) {
        self.end(index, context.snapshot, context.now.tick());
        self.unknown(packet, flow, Beginning::New, context);
    }

    /// A client's packet of a connection whose backend has failed, and whose service gives such to others or ends them.
    #[cold]
    fn abandoned<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        flow: Flow<'_>,
        index: ConnectionIndex,
        context: &mut Context<'_, O, T>,
    ) {
        let (snapshot, tick) = (context.snapshot, context.now.tick());
        let backend = snapshot.backend(self.conntrack.connection(index).backend());
        let owner = backend.and_then(|backend| snapshot.service(backend.service));
        if owner.is_some_and(|service| service.on_failure == OnFailure::Reset) {
            self.end(index, snapshot, tick);
            if flow.headers.kind == Kind::Tcp {
                const WHAT: &str = "a RST, because the connection's backend is down";
                return self.reset_client(packet, flow.headers, WHAT, DropReason::NoBackend, context);
            }
            return self.unknown(packet, flow, Beginning::New, context);
        }
        let service = snapshot.service_for(&flow.headers.key());
        if !service.is_some_and(|service| snapshot.takes_connections(service)) {
            // It is kept for when some backend is back: no client would begin it anew by itself.
            return self.drop(packet, DropReason::NoBackend, context);
        }
        self.end(index, snapshot, context.now.tick());
        context.tracer.note(Note::Moved);
        self.unknown(packet, flow, Beginning::Moved, context);
    }

    /// A client's SYN on a connection that is over: a new one takes its place.
    #[cold]
    fn reopen<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        flow: Flow<'_>,
        index: ConnectionIndex,
        keep_port: bool,
        context: &mut Context<'_, O, T>,
    ) {
        let connection = self.conntrack.connection(index);
        let port = connection.reply_key().dst_port;
        // The client's own numbers are those that the backend knew, and lie beyond: they will do.
        let is_beyond = keep_port && !connection.is_adjusted();
        let must_be_beyond = !is_beyond && connection.rests_at_backend();
        let before = must_be_beyond.then(|| self.conntrack.predecessor(index));
        self.end(index, context.snapshot, context.now.tick());
        context.tracer.note(Note::Reopened);
        let port = Some(port).filter(|_| is_beyond || must_be_beyond);
        self.unknown(packet, flow, Beginning::Again { port, before }, context);
    }

    /// Tells the tracer of the connection at `index`, which a packet in `direction` belongs to.
    pub(super) fn tell<O, T: Tracer>(
        &self,
        index: ConnectionIndex,
        direction: Direction,
        backend: &Backend,
        in_window: bool,
        context: &mut Context<'_, O, T>,
    ) {
        let connection = self.conntrack.connection(index);
        context.tracer.note(Note::Known {
            original: connection.original_key(),
            reply: connection.has_replies().then(|| connection.reply_key()),
            is_reply: direction == Direction::Reply,
            state: connection.state(),
            service: context.snapshot.service(backend.service),
            backend: (backend.address, backend.port),
        });
        if !in_window {
            context.tracer.note(Note::OutOfWindow);
        }
    }

    /// Notes that the client of the connection at `index` sends from elsewhere now.
    #[cold]
    fn follow(&mut self, packet: &P, index: ConnectionIndex) {
        if let Some(link) = link(packet) {
            self.conntrack.set_link(index, link);
        }
    }

    /// Sends a client's packet to `backend`, which knows the connection by the tuple `to`.
    #[inline(always)]
    pub(super) fn forward_original<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        flow: Flow<'_>,
        to: &PackedKey,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let frame_len = packet.frame_len();
        clamp_syn(&mut packet, flow, backend);
        let is_passed = match &backend.forwarding {
            Forwarding::Translate => {
                let onward = Onward::Backend(&backend.neighbor);
                match self.translate(packet, flow.headers, to, onward, context) {
                    Ok(packet) => self.send_in_turn(packet, &backend.neighbor, context),
                    Err(is_passed) => is_passed,
                }
            }
            Forwarding::Direct => self.send_in_turn(packet, &backend.neighbor, context),
            Forwarding::Encapsulate(way) => {
                self.encapsulate::<false, _, _>(packet, flow.headers.packet_len(), flow.hash, way, backend, context)
            }
        };
        if is_passed {
            self.count_passed(backend, Direction::Original, frame_len);
        }
    }

    /// Sends a packet of `backend` to its client, which knows the connection by the tuple `to` and is at `link`.
    #[inline(always)]
    fn forward_reply<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        flow: Flow<'_>,
        to: &PackedKey,
        link: ClientLink,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let frame_len = packet.frame_len();
        clamp_syn(&mut packet, flow, backend);
        let is_passed = match self.translate(packet, flow.headers, to, Onward::Client(hop(link)), context) {
            Ok(packet) => self.send_to_client(packet, to, hop(link), context),
            Err(is_passed) => is_passed,
        };
        if is_passed {
            self.count_passed(backend, Direction::Reply, frame_len);
        }
    }

    /// Gives a packet the addresses and ports of `to`.
    ///
    /// # Errors
    ///
    /// They are of the other version of IP, and the packet has gone `onward` already (`true`), or cannot.
    #[inline(always)]
    fn translate<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        headers: &Headers,
        to: &PackedKey,
        onward: Onward<'_>,
        context: &mut Context<'_, O, T>,
    ) -> Result<P, bool> {
        match (&headers.packed, to) {
            (PackedKey::V4(_), PackedKey::V4(_)) | (PackedKey::V6(_), PackedKey::V6(_)) => {
                forward::translate(packet.data_mut(), usize::from(headers.transport), to);
                Ok(packet)
            }
            _ => Err(self.cross(packet, headers.transport.into(), to, onward, context)),
        }
    }

    /// Sends a packet that goes in `direction` of `connection` and is as it shall be.
    #[cold]
    pub(super) fn send_along<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        connection: &Connection,
        direction: Direction,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        match (direction, &backend.forwarding) {
            (Direction::Reply, _) => {
                let to = connection.key(Direction::Original).reversed();
                self.send_to_client(packet, &to, hop(connection.link()), context)
            }
            (Direction::Original, Forwarding::Translate | Forwarding::Direct) => {
                self.send_in_turn(packet, &backend.neighbor, context)
            }
            (Direction::Original, Forwarding::Encapsulate(way)) => {
                let hash = self.hasher.hash(&connection.original_key());
                let len = ip_of(&packet).map_or(0, |ip| ip.packet_len());
                self.encapsulate::<false, _, _>(packet, len, hash, way, backend, context)
            }
        }
    }

    /// Sends `packet` to the client that `to` leads to, whose packets come from `link`: there, unless a route is
    /// configured.
    #[inline(always)]
    fn send_to_client<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        to: &PackedKey,
        link: Hop,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        if context.snapshot.has_routes() {
            return self.send_by_route(packet, to.unpack().dst, link, context);
        }
        self.send(packet, link, context)
    }

    /// Sends `packet` to the client at `address`, whose packets come from `link`: there, unless a route is configured.
    pub(super) fn send_by_route<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        address: IpAddr,
        link: Hop,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        match context.snapshot.route(address) {
            None => self.send(packet, link, context),
            Some(router) => self.send_in_turn(packet, router, context),
        }
    }
}

impl<P> Pipeline<P> {
    /// Counts what a packet has changed about its connection with `backend`.
    #[cold]
    pub(super) fn count_change(
        &mut self,
        index: ConnectionIndex,
        backend: &Backend,
        change: Change,
        snapshot: &Snapshot,
    ) {
        let (open, client) =
            (&backend.counters[self.id.index()].open, self.conntrack.connection(index).original_key().src);
        let of_service = snapshot.service(backend.service).map(|service| &service.counters[self.id.index()].open);
        match change {
            Change::Closed => {
                open.subtract(1);
                of_service.inspect(|open| open.subtract(1));
                self.loads.closed(backend.service, client);
            }
            Change::Restored => {
                open.add(1);
                of_service.inspect(|open| open.add(1));
                self.loads.restored(backend.service, client);
            }
            Change::Reopen { .. } => {}
        }
    }

    /// Counts a packet that is passed on.
    #[inline(always)]
    pub(super) fn count_passed(&self, backend: &Backend, direction: Direction, frame_len: usize) {
        let counters = &backend.counters[self.id.index()];
        match direction {
            Direction::Original => {
                counters.original_packets.add(1);
                counters.original_bytes.add(frame_len as u64);
            }
            Direction::Reply => {
                counters.reply_packets.add(1);
                counters.reply_bytes.add(frame_len as u64);
            }
        }
    }

    /// Takes a client's packet out of the count that could not be passed on after all.
    #[cold]
    pub(super) fn take_back(&self, backend: &Backend, frame_len: usize) {
        let counters = &backend.counters[self.id.index()];
        counters.original_packets.subtract(1);
        counters.original_bytes.subtract(frame_len as u64);
    }

    /// Notes that the client of the connection at `index` is still there, where that prolongs its persistence.
    #[inline(never)]
    pub(super) fn touch_client(&mut self, snapshot: &Snapshot, index: ConnectionIndex, tick: Tick) {
        let connection = self.conntrack.connection(index);
        let Some(backend) = snapshot.backend(connection.backend()) else { return };
        let client = connection.original_key().src;
        if connection.path() == Path::Client {
            self.clients.insert(NAT_CLIENTS, client, connection.backend(), self.client_idle, tick);
        }
        if let Some(idle) = snapshot.service(backend.service).and_then(|service| service.persistence) {
            self.persistence.touch(backend.service, client, idle, tick);
        }
    }

    /// Ends the connection at `index`.
    pub(super) fn end(&mut self, index: ConnectionIndex, snapshot: &Snapshot, tick: Tick) {
        let ended = self.conntrack.end(index);
        self.forget(snapshot, &ended, tick);
    }

    /// Does what is to be done when a connection has left the table.
    pub(super) fn forget(&mut self, snapshot: &Snapshot, ended: &Connection, tick: Tick) {
        let Self { id: worker, hasher, flow_memory, guards, loads, .. } = self;
        Epilogue { snapshot, worker: *worker, hasher, flow_memory, guards, loads, tick }.speak(ended);
    }
}

/// What is done when a connection has left the table: it is taken out of the counts, and its flow is remembered where its
/// service wants that.
pub(super) struct Epilogue<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) worker: WorkerId,
    pub(super) hasher: &'a FlowHasher,
    pub(super) flow_memory: &'a mut FlowMemory,
    pub(super) guards: &'a mut [Guard],
    pub(super) loads: &'a mut ClientLoads,
    pub(super) tick: Tick,
}

impl Epilogue<'_> {
    pub(super) fn speak(&mut self, ended: &Connection) {
        let Some(backend) = self.snapshot.backend(ended.backend()) else { return };
        backend.counters[self.worker.index()].connections.subtract(1);
        let service = self.snapshot.service(backend.service);
        if ended.is_open() {
            backend.counters[self.worker.index()].open.subtract(1);
            service.inspect(|service| service.counters[self.worker.index()].open.subtract(1));
            self.loads.closed(backend.service, ended.original_key().src);
        }
        if ended.state().is_opening()
            && let Some(guard) = self.guards.get_mut(backend.service.index())
        {
            guard.half_open -= 1;
        }
        if let Some(ticks) = service.and_then(|service| service.flow_memory) {
            let hash = self.hasher.hash(&ended.original_key());
            self.flow_memory.insert(hash, ended.backend(), ticks, self.tick);
        }
    }
}

/// Lowers the segment size that a SYN announces, where that is configured.
#[inline(always)]
fn clamp_syn<P: Packet>(packet: &mut P, flow: Flow<'_>, backend: &Backend) {
    if let Some(most) = backend.mss_clamp
        && flow.headers.is_syn
    {
        forward::clamp_mss(packet.data_mut(), usize::from(flow.headers.transport), most);
    }
}

/// Whether `backend` has failed, and its service does not leave its connections with it.
#[cold]
fn is_abandoned(snapshot: &Snapshot, backend: &Backend) -> bool {
    snapshot.service(backend.service).is_some_and(|service| backend.is_abandoned(service.on_failure))
}

/// Whether `packet` came from where its client was before.
#[inline(always)]
fn comes_from<P: Packet>(packet: &P, link: ClientLink) -> bool {
    link_of(packet.data(), packet.ingress()) == Some(link)
}

/// Where a client's packet came from; nothing when that is no station's address.
#[inline(always)]
pub(super) fn link<P: Packet>(packet: &P) -> Option<ClientLink> {
    link_of(packet.data(), packet.ingress()).filter(|link| link.mac().is_unicast())
}

/// The way back to whoever sent `frame`, which came in on `ingress`.
#[inline(always)]
pub(super) fn link_of(frame: &[u8], ingress: PortId) -> Option<ClientLink> {
    let source = ethernet::Header::new(frame)?.source();
    // DPDK has at most 32 ports.
    Some(ClientLink::new(source, ingress.0 as u8))
}

/// What the connection's state needs to know of a TCP segment; nothing for other protocols.
#[inline(always)]
pub(super) fn segment<P: Packet>(packet: &P, headers: &Headers) -> Option<Segment> {
    if headers.kind != Kind::Tcp {
        return None;
    }
    let message = packet.data().get(usize::from(headers.transport)..)?;
    let tcp = tcp::Header::new(message)?;
    let header_len = tcp.header_len();
    let window_scale = if tcp.flags().contains(tcp::Flags::SYN) {
        message.get(..header_len).and_then(tcp::window_scale)
    } else {
        None
    };
    Some(Segment {
        flags: tcp.flags().0,
        seq: tcp.sequence(),
        ack: tcp.acknowledgment(),
        window: tcp.window(),
        payload_len: headers.transport_len.saturating_sub(header_len as u16),
        window_scale,
    })
}
