//! TCP segments of connections that are not there, or no longer: the client is told by a RST, and so is a backend where it would
//! stand in another's way.

use super::classify::{Headers, Kind};
use super::known::link;
use super::{Context, Note, Pipeline, Tracer, hop};
use crate::counters::DropReason;
use crate::flow::FlowKey;
use crate::forward::{self, Segment};
use crate::io::{Output, Packet};
use crate::service::Backend;
use crate::wire::tcp;
use crate::wire::tcp_options::Options;

impl<P: Packet> Pipeline<P> {
    /// Has a backend forget what it knows by the tuple of `key`, whose next number is `sequence` (RFC 9293 §3.5.2).
    #[cold]
    pub(super) fn reset_backend<O: Output<P>, T: Tracer>(
        &mut self,
        key: FlowKey,
        sequence: u32,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let (flags, options) = (tcp::Flags::RST, Options::default());
        let segment = Segment { key, sequence, acknowledgment: 0, flags, window: 0, options, payload: &[] };
        self.say_to_backend(&segment, None, backend, context);
    }

    /// Answers a client's segment with a RST, for the reason that `what` says. What cannot be answered, is a RST itself, or
    /// comes when enough were sent, is dropped for `otherwise`.
    #[cold]
    pub(super) fn reset_client<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        headers: &Headers,
        what: &str,
        otherwise: DropReason,
        context: &mut Context<'_, O, T>,
    ) {
        let transport = usize::from(headers.transport);
        let header_len = packet.data().get(transport..).and_then(tcp::Header::new).map_or(0, tcp::Header::header_len);
        let payload_len = usize::from(headers.transport_len).saturating_sub(header_len);
        let Some(link) = link(&packet) else {
            return self.drop(packet, DropReason::EthernetSource, context);
        };
        let is_answered = headers.kind == Kind::Tcp
            && self.errors.allows(context.now)
            && forward::reset(&mut packet, transport, payload_len);
        if !is_answered {
            return self.drop(packet, otherwise, context);
        }
        context.tracer.note(Note::Answered(what));
        self.count().originated.add(1);
        self.send_by_route(packet, headers.key().src, hop(link), context);
    }
}
