//! TCP segments of connections that are not there, or no longer: the client is told by a RST, and so is a backend where it would
//! stand in another's way.

use super::classify::{Headers, Kind};
use super::known::link;
use super::{Context, Note, Pipeline, Tracer, hop};
use crate::conntrack::{Connection, Predecessor};
use crate::counters::DropReason;
use crate::forward::{self, Segment};
use crate::io::{Output, Packet};
use crate::service::Backend;
use crate::wire::tcp;
use crate::wire::tcp_options::Options;

impl<P: Packet> Pipeline<P> {
    /// Has a backend forget a half-open connection that has gone to make room for another on the same tuple.
    #[cold]
    pub(super) fn reset_backend<O: Output<P>, T: Tracer>(
        &mut self,
        gone: &Connection,
        predecessor: Predecessor,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let segment = Segment {
            key: gone.reply_key().reversed(),
            sequence: predecessor.end(),
            acknowledgment: 0,
            flags: tcp::Flags::RST,
            window: 0,
            options: Options::default(),
            payload: &[],
        };
        self.say_to_backend(&segment, 0, backend, context);
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
