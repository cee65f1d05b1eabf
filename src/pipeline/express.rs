//! The third pass for nearly every packet: one of a known connection that needs nothing but to be passed on.
//!
//! What is done here, the way through [`finish`](Pipeline::finish) does as well and alike. That way can do everything; this
//! one asks first whether anything of it is needed, before it changes anything, and takes half of the instructions. A packet
//! that needs more goes back untouched. A traced packet is never asked: so traces are those of the other way, and a test
//! holds both against each other.

use super::classify::{Headers, Kind};
use super::{Context, Flow, Pipeline, Tracer, hop};
use crate::conntrack::{Candidate, Direction, Segment};
use crate::forward::{self, PLAIN_HEADERS};
use crate::io::{Output, Packet};
use crate::service::Forwarding;
use crate::time::Tick;
use crate::wire::{ethernet, ipv4, tcp};

impl<P: Packet> Pipeline<P> {
    /// Sends `packet`, whose [`Headers::is_plain`], or gives it back as it was.
    #[inline(always)]
    pub(super) fn express<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        flow: Flow<'_>,
        candidate: Candidate,
        tick: Tick,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let (headers, snapshot) = (flow.headers, context.snapshot);
        let (frame_len, ingress) = (packet.frame_len(), packet.ingress());
        let Some(head) = packet.data_mut().first_chunk_mut() else { return Some(packet) };
        let Some((mut met, direction)) = self.conntrack.expect(candidate, &headers.packed) else { return Some(packet) };
        let Some(backend) = snapshot.backend(met.connection().backend()) else { return Some(packet) };
        let segment = segment(head, headers);
        if !backend.is_plain() || met.connection().is_adjusted() || !met.is_passed_by(direction, segment.as_ref(), tick)
        {
            return Some(packet);
        }
        // Once a tick is often enough to say that the client is still there.
        if backend.remembers_clients && met.is_first_in_tick(tick) {
            return Some(packet);
        }
        let link = met.connection().link();
        let hop = match direction {
            Direction::Original => {
                let source = ethernet::Header::new(head).map(ethernet::Header::source);
                if source != Some(link.mac()) || ingress.0 != u16::from(link.port()) {
                    return Some(packet);
                }
                if let Forwarding::Encapsulate(way) = &backend.forwarding {
                    met.pass(direction, segment.as_ref(), tick);
                    self.count_passed(backend, direction, frame_len);
                    self.encapsulate(packet, headers.packet_len(), flow.hash, way, &backend.neighbor, context);
                    return None;
                }
                backend.neighbor.hop().filter(|_| self.waiting.is_empty())
            }
            Direction::Reply => Some(hop(link)).filter(|_| !snapshot.has_routes()),
        };
        let Some(hop) = hop else { return Some(packet) };
        let Some(exit) = snapshot.exit(hop.port).filter(|exit| frame_len <= exit.longest) else { return Some(packet) };

        met.pass(direction, segment.as_ref(), tick);
        let to = met.connection().key(direction.opposite()).reversed();
        self.count_passed(backend, direction, frame_len);
        if let Forwarding::Translate = backend.forwarding {
            forward::translate_plain(head, &to);
        }
        forward::address(head, hop, exit.mac);
        context.output.transmit(packet, hop.port);
        None
    }
}

/// What the connection's state needs to know of a plain TCP segment; nothing for other protocols.
#[inline(always)]
fn segment(head: &[u8; PLAIN_HEADERS], headers: &Headers) -> Option<Segment> {
    if headers.kind != Kind::Tcp {
        return None;
    }
    let (_, tcp) = head.split_at(ethernet::HEADER_LEN + ipv4::HEADER_LEN);
    let tcp = tcp::Header::new(tcp)?;
    Some(Segment {
        flags: Segment::ACK,
        seq: tcp.sequence(),
        ack: tcp.acknowledgment(),
        window: tcp.window(),
        payload_len: headers.transport_len.saturating_sub(tcp.header_len() as u16),
        window_scale: None,
    })
}
