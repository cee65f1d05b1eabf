//! Packets of leat's own health checks: they leave by the way that clients' packets take, and their answers are taken out.

use super::classify::{Class, Classes, Headers};
use super::{Context, Note, Pipeline, Tracer, flow_of};
use crate::counters::DropReason;
use crate::courier;
use crate::id::{BackendId, PortId, WorkerId};
use crate::io::{Output, Packet};
use crate::service::{Forwarding, Snapshot};
use crate::wire::MacAddr;
use crate::wire::ethernet::{self, EtherType};

/// Packets that are sent between two bursts.
const AT_ONCE: usize = 32;

impl<P: Packet> Pipeline<P> {
    /// Sends what the checkers have to say.
    pub(super) fn post<O: Output<P>, T: Tracer>(&mut self, context: &mut Context<'_, O, T>) {
        for _ in 0..AT_ONCE {
            let snapshot = context.snapshot;
            // Nobody else sends from there to there: its own rules of who is who do not matter here.
            let station = snapshot.ports().first().map_or(MacAddr::default(), |port| port.mac);
            let mut frame = [0; ethernet::HEADER_LEN + courier::LONGEST];
            let read = |backend: BackendId, packet: &[u8]| {
                if let Some(mut header) = ethernet::HeaderMut::new(&mut frame) {
                    header.set_addresses(station, station);
                    let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
                    header.set_ether_type(if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 });
                }
                frame[ethernet::HEADER_LEN..][..packet.len()].copy_from_slice(packet);
                (backend, ethernet::HEADER_LEN + packet.len())
            };
            let Some((backend, len)) = self.courier.collect(read) else { return };
            match context.output.create(&frame[..len]) {
                None => self.count().drops.add(DropReason::NoBuffer, 1),
                Some(packet) => self.post_one(packet, backend, station, context),
            }
        }
    }

    fn post_one<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        backend: BackendId,
        station: MacAddr,
        context: &mut Context<'_, O, T>,
    ) {
        if T::ENABLED {
            context.tracer.arrived(packet.data(), PortId(0));
            context.tracer.note(Note::Probe);
        }
        let mut classes = Classes::<1>::default();
        classes.classify(&packet, station);
        let Some(Class::Flow(headers)) = classes.each().first() else {
            return self.drop(packet, DropReason::Protocol, context);
        };
        let Some(backend) = context.snapshot.backend(backend) else {
            return self.drop(packet, DropReason::NoBackend, context);
        };
        // One may wait for the way to be found; more would only take the places of clients' packets.
        if backend.neighbor.hop().is_none() && self.waiting.any_for(&backend.neighbor) {
            return self.drop(packet, DropReason::ProbeUnsent, context);
        }
        self.count().originated.add(1);
        match &backend.forwarding {
            Forwarding::Translate | Forwarding::Direct => {
                self.send_in_turn(packet, &backend.neighbor, context);
            }
            Forwarding::Encapsulate(way) => {
                let hash = self.hasher.hash(&headers.key());
                self.encapsulate::<false, _, _>(packet, headers.packet_len(), hash, way, backend, context);
            }
        }
    }

    /// Why a packet is dropped whose next hop was not found: that of a health check says nothing that its outcome does not.
    pub(super) fn reason_of_unsent(packet: &P, snapshot: &Snapshot) -> DropReason {
        let is_probe = flow_of(packet.data()).is_some_and(|key| snapshot.is_probe(&key));
        if is_probe { DropReason::ProbeUnsent } else { DropReason::NeighborUnresolved }
    }

    /// Takes in the answer to a probe. The first worker has the way to the checkers.
    #[cold]
    pub(super) fn take_answer<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        context: &mut Context<'_, O, T>,
    ) {
        if self.id != WorkerId::FIRST {
            return self.hand_over(packet, WorkerId::FIRST, context);
        }
        let message = packet.data().get(ethernet::HEADER_LEN..).and_then(|packet| packet.get(..headers.packet_len()));
        let is_read = message.is_some_and(|message| self.courier.deliver(message));
        let reason = if is_read { DropReason::ProbeConsumed } else { DropReason::NoBuffer };
        self.drop(packet, reason, context);
    }
}
