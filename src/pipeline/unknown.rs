//! Packets that belong to no connection: new ones are opened, the rest is told apart and dropped.
//!
//! With several workers, each flow belongs to one. Which one is a function of the packet: of the client's 5-tuple (of
//! its address alone where persistence ties its connections together) on the way to a backend, of the source port that
//! leat chose on the way back. A packet that arrives on another worker is handed over before anything is looked up twice.

use std::net::Ipv4Addr;

use super::classify::{Headers, Kind};
use super::known::{count_ended, link, segment, ttl};
use super::{Context, Note, Pipeline, Tracer};
use crate::conntrack::{OpenError, Opening, Source};
use crate::counters::DropReason;
use crate::id::{BackendId, ServiceId, WorkerId};
use crate::io::{Output, Packet};
use crate::scheduler::Choice;
use crate::service::Service;
use crate::time::Tick;
use crate::wire::tcp;

impl<P: Packet> Pipeline<P> {
    /// A packet that is in no connection of this worker's. Should it open one, that has the source port `preferred` if
    /// it is free.
    pub(super) fn unknown<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        hash: u64,
        preferred: Option<u16>,
        context: &mut Context<'_, O, T>,
    ) {
        let key = &headers.key;
        if !may_send(key.src) || context.snapshot.owns_anywhere(key.src) {
            return self.drop(packet, DropReason::Ipv4Source, context);
        }
        let service = if headers.kind == Kind::EchoReply { None } else { context.snapshot.service_for(key) };
        match service {
            Some(id) => self.original(packet, headers, hash, preferred, id, context),
            None => self.not_for_a_service(packet, headers, context),
        }
    }

    /// A client's packet to a service, of a connection that this worker does not have.
    fn original<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        hash: u64,
        preferred: Option<u16>,
        id: ServiceId,
        context: &mut Context<'_, O, T>,
    ) {
        let snapshot = context.snapshot;
        let Some(service) = snapshot.service(id) else {
            return self.drop(packet, DropReason::NoService, context);
        };
        context.tracer.note(Note::Service(service));
        let owner = self.owner_of_original(headers, hash, service);
        if owner != self.id {
            return self.hand_over(packet, owner, context);
        }
        if ttl(&packet) <= 1 {
            return self.drop(packet, DropReason::Ipv4Ttl, context);
        }
        let segment = segment(&packet, headers);
        if segment.is_some_and(|segment| !tcp::Flags(segment.flags).opens()) {
            return self.drop(packet, DropReason::NoConnection, context);
        }
        let Some(link) = link(&packet) else {
            return self.drop(packet, DropReason::EthernetSource, context);
        };
        let tick = context.now.tick();
        let Some(chosen) = self.choose(headers, id, service, tick, context) else {
            return self.drop(packet, DropReason::NoBackend, context);
        };
        let Some(backend) = snapshot.backend(chosen) else {
            return self.drop(packet, DropReason::NoBackend, context);
        };
        let opening = Opening {
            original: headers.key,
            hash,
            backend: chosen,
            backend_address: backend.address,
            backend_port: backend.port,
            source: Source::Local { addresses: &service.local_addresses, preferred_port: preferred },
            link,
            segment: segment.as_ref(),
            now: tick,
        };
        let opened = match self.conntrack.open(&opening) {
            Ok(opened) => opened,
            Err(OpenError::TableFull) => return self.drop(packet, DropReason::TableFull, context),
            Err(OpenError::PortsExhausted) => return self.drop(packet, DropReason::PortsExhausted, context),
            Err(OpenError::TupleInUse) => return self.drop(packet, DropReason::TupleInUse, context),
        };
        if let Some(ended) = &opened.ended {
            count_ended(snapshot, self.id, ended);
            self.count().ports_reused.add(1);
        }
        let counters = &backend.counters[self.id.index()];
        counters.opened.add(1);
        counters.open.add(1);
        if let Some(idle) = service.persistence {
            self.persistence.insert(id, headers.key.src, chosen, idle, tick);
        }
        if T::ENABLED {
            let reply = self.conntrack.connection(opened.index).reply_key();
            let kept = reply.dst_port == headers.key.src_port;
            context.tracer.note(Note::Source { address: reply.dst, port: reply.dst_port, kept });
        }
        self.forward_original(packet, headers, opened.index, context);
    }

    /// The backend for a new connection.
    fn choose<O, T: Tracer>(
        &mut self,
        headers: &Headers,
        id: ServiceId,
        service: &Service,
        tick: Tick,
        context: &mut Context<'_, O, T>,
    ) -> Option<BackendId> {
        let snapshot = context.snapshot;
        if service.persistence.is_some() {
            let kept = self.persistence.find(id, headers.key.src, tick);
            let kept = kept.and_then(|backend| Some((backend, snapshot.backend(backend)?)));
            if let Some((chosen, backend)) = kept.filter(|(_, backend)| backend.service == id && backend.weight > 0) {
                context.tracer.note(Note::Persistent(backend.address, backend.port));
                return Some(chosen);
            }
        }
        let turn = self.turns.get_mut(id.index())?;
        let open = |backend| snapshot.backend(backend).map_or(0, |backend| backend.open());
        let Choice { backend: chosen, why } = service.schedule.choose(&headers.key, turn, open)?;
        let backend = snapshot.backend(chosen)?;
        context.tracer.note(Note::Chosen { address: backend.address, port: backend.port, why });
        Some(chosen)
    }

    /// A packet that no client sent to a service.
    fn not_for_a_service<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        context: &mut Context<'_, O, T>,
    ) {
        let key = &headers.key;
        if !context.snapshot.owns(key.dst, packet.ingress()) {
            return self.drop(packet, DropReason::NotOurAddress, context);
        }
        if headers.kind == Kind::EchoRequest {
            return self.echo(packet, headers, context);
        }
        if !context.snapshot.is_local(key.dst) || !context.snapshot.is_backend(key.src) {
            return self.drop(packet, DropReason::NoService, context);
        }
        match WorkerId(key.dst_port % self.workers) {
            owner if owner == self.id => self.drop(packet, DropReason::StrayReply, context),
            owner => self.hand_over(packet, owner, context),
        }
    }

    /// The worker that has the connections of a client's flow.
    fn owner_of_original(&self, headers: &Headers, hash: u64, service: &Service) -> WorkerId {
        let hash = match service.persistence {
            Some(_) => self.hasher.hash_address(headers.key.src),
            None => hash,
        };
        // The high half: the table takes its buckets from the low one.
        WorkerId(((hash >> 32) % u64::from(self.workers)) as u16)
    }
}

/// Whether one station may have `address` (RFC 1122 §3.2.1.3): not this network, loopback, multicast or reserved.
fn may_send(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}
