//! Connections whose segments are changed by more than addresses and ports, as their [`Adjustment`] says.
//!
//! Conntrack sees all segments as the client sees them: a backend's are changed before they are tracked, a client's after.

use std::net::IpAddr;

use super::classify::Headers;
use super::syn_proxy::MOST_TRIES;
use super::{Context, Flow, Note, Pipeline, Tracer};
use crate::conntrack::{Adjustment, ConnectionIndex, Errand};
use crate::counters::DropReason;
use crate::forward::{self, LONGEST_PROXY_HEADER, LONGEST_SEGMENT, Segment, Shift};
use crate::io::{Output, Packet};
use crate::service::{Backend, ClientAddress, ProxyVersion, Service};
use crate::wire::tcp_options::Options;
use crate::wire::{ethernet, ipv4, ipv6, tcp};

/// How many ticks after the last time something that a client's segment asks for again is done again.
const SOONEST_AGAIN: u32 = 2;

/// How many ticks after the first try something that nobody has acknowledged is done again; then after twice as many.
const AGAIN_AFTER: u32 = 10;

/// How often the time between two tries is doubled at most.
const MOST_DOUBLINGS: u32 = 6;

impl<P: Packet> Pipeline<P> {
    /// Changes a backend's segment into what its client shall see. Nothing, where it is for leat itself.
    #[cold]
    pub(super) fn for_client<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        flow: Flow<'_>,
        index: ConnectionIndex,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let mut adjustment = self.conntrack.adjustment(index);
        let transport = usize::from(flow.headers.transport);
        let Some(header) = packet.data().get(transport..).and_then(tcp::Header::new) else { return Some(packet) };
        let (flags, acknowledgment) = (header.flags(), header.acknowledgment());
        if adjustment.errand == Errand::Open {
            self.hear_backend(packet, flow.headers, index, adjustment, backend, context);
            return None;
        }
        let mut change = Shift {
            sequence: adjustment.reply_sequence,
            timestamp: adjustment.reply_timestamp,
            echo: adjustment.original_timestamp.wrapping_neg(),
            window: adjustment.reply_window,
            ..Shift::default()
        };
        if flags.contains(tcp::Flags::ACK) {
            let before = adjustment;
            let taken = acknowledgment.wrapping_sub(adjustment.first).wrapping_sub(adjustment.original_sequence);
            if adjustment.inserted != 0 && taken.cast_signed() >= adjustment.inserted.into() {
                adjustment.original_sequence = adjustment.original_sequence.wrapping_add(adjustment.inserted.into());
                (adjustment.inserted, adjustment.errand) = (0, Errand::None);
            }
            let to_client = adjustment.as_client_counts(acknowledgment);
            change.acknowledgment = to_client.wrapping_sub(acknowledgment);
            // Before it has taken what stands there first, nothing of the client's can be acknowledged behind that.
            change.without_sack = adjustment.inserted != 0;
            if to_client.wrapping_sub(adjustment.first).cast_signed() > 0 {
                adjustment.option = 0;
            }
            if adjustment != before {
                self.renew(index, &adjustment);
            }
        }
        forward::shift(packet.data_mut(), transport, &change);
        if flow.headers.is_syn && adjustment.option != 0 {
            // So that the client leaves room for it.
            let client = self.conntrack.connection(index).original_key().src;
            let room = forward::client_address_len(client) as u16;
            forward::lower_mss(packet.data_mut(), transport, room);
        }
        Some(packet)
    }

    /// Changes a client's segment into what its backend shall see. Nothing, where the backend cannot have it yet.
    #[cold]
    pub(super) fn for_backend<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        flow: Flow<'_>,
        index: ConnectionIndex,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let mut adjustment = self.conntrack.adjustment(index);
        if adjustment.errand == Errand::Open {
            self.drop(packet, DropReason::HandshakeConsumed, context);
            return None;
        }
        let before = adjustment;
        let transport = usize::from(flow.headers.transport);
        let Some(header) = packet.data().get(transport..).and_then(tcp::Header::new) else { return Some(packet) };
        let (flags, sequence, has_payload) = (header.flags(), header.sequence(), payload_len(flow.headers, header) > 0);
        if adjustment.errand == Errand::Introduce && flags.only_acknowledges_or_ends() {
            adjustment.acknowledgment = header.acknowledgment();
            adjustment.window = header.window();
            adjustment.timestamps = forward::timestamps(packet.data(), transport);
            let is_asked_again = has_payload && context.now.tick().since(adjustment.tried) >= SOONEST_AGAIN;
            if adjustment.tries == 0 || is_asked_again {
                self.introduce(index, &mut adjustment, backend, context);
            }
        }
        if flags.contains(tcp::Flags::SYN) {
            adjustment.first = sequence.wrapping_add(1);
        }
        let change = Shift {
            sequence: adjustment.as_backend_counts(sequence).wrapping_sub(sequence),
            acknowledgment: adjustment.reply_sequence.wrapping_neg(),
            timestamp: adjustment.original_timestamp,
            echo: adjustment.reply_timestamp.wrapping_neg(),
            window: adjustment.original_window,
            without_timestamps: adjustment.without_timestamps,
            without_fast_open: adjustment.inserted != 0,
            without_sack: false,
        };
        forward::shift(packet.data_mut(), transport, &change);
        if adjustment.remembers_timestamps
            && let Some((value, _)) = forward::timestamps(packet.data(), transport)
        {
            adjustment.note_timestamp(value);
        }
        if adjustment.option != 0 && sequence == adjustment.first && flags.only_acknowledges_or_ends() {
            self.add_option(&mut packet, transport, index, adjustment.option, backend, context);
        }
        if adjustment != before {
            self.renew(index, &adjustment);
        }
        Some(packet)
    }

    /// Adds the option that holds the client's address, where there is room.
    fn add_option<O, T>(
        &self,
        packet: &mut P,
        transport: usize,
        index: ConnectionIndex,
        kind: u8,
        backend: &Backend,
        context: &Context<'_, O, T>,
    ) {
        let longest = backend
            .neighbor
            .hop()
            .and_then(|hop| context.snapshot.port(hop.port))
            .map_or(0, |port| ethernet::HEADER_LEN + usize::from(port.mtu));
        // What follows a first fragment lies where it lies.
        let connection = self.conntrack.connection(index);
        let original = connection.original_key();
        let grown =
            if connection.is_crossing() && original.src.is_ipv4() { ipv6::HEADER_LEN - ipv4::HEADER_LEN } else { 0 };
        let len = packet.frame_len() + grown + forward::client_address_len(original.src);
        if !forward::is_fragment(packet.data()) && len <= longest {
            forward::add_client_address(packet, transport, kind, (original.src, original.src_port));
        }
    }

    /// Puts the adjustment of a connection away, or forgets it when nothing is left of it.
    pub(super) fn renew(&mut self, index: ConnectionIndex, adjustment: &Adjustment) {
        if adjustment.is_needed() {
            self.conntrack.adjust(index, adjustment);
        } else {
            self.conntrack.leave_as_they_are(index);
        }
    }

    /// Tells the backend of the connection at `index` who its client is.
    pub(super) fn introduce<O: Output<P>, T: Tracer>(
        &mut self,
        index: ConnectionIndex,
        adjustment: &mut Adjustment,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        (adjustment.tries, adjustment.tried) = (adjustment.tries.saturating_add(1), context.now.tick());
        let connection = self.conntrack.connection(index);
        // A reload may have changed the version since the connection began.
        let version = if adjustment.introduces_in_binary { ProxyVersion::V2 } else { ProxyVersion::V1 };
        let mut header = [0; LONGEST_PROXY_HEADER];
        let len = forward::proxy_header(version, &connection.original_key(), &mut header);
        let timestamps = adjustment.timestamps.map(|(value, echo)| adjustment.timestamps_for_backend(value, echo));
        let segment = Segment {
            key: connection.reply_key().reversed(),
            sequence: adjustment.first.wrapping_add(adjustment.original_sequence),
            acknowledgment: adjustment.acknowledgment.wrapping_sub(adjustment.reply_sequence),
            flags: tcp::Flags::ACK.or(tcp::Flags::PSH),
            window: forward::rescale(adjustment.window, adjustment.original_window),
            options: Options {
                timestamps: timestamps.filter(|_| !adjustment.without_timestamps),
                ..Options::default()
            },
            payload: &header[..len],
        };
        self.say_to_backend(&segment, None, backend, context);
    }

    /// Sends a segment of leat's own to a backend, with an option of this kind that holds this client's address, if one is given.
    pub(super) fn say_to_backend<O: Output<P>, T: Tracer>(
        &mut self,
        segment: &Segment<'_>,
        option: Option<(u8, (IpAddr, u16))>,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let Some(mut packet) = self.write_segment(segment, context) else { return };
        if let Some((kind, client)) = option {
            forward::add_client_address(&mut packet, segment.transport(), kind, client);
        }
        let hop = backend.neighbor.hop();
        if hop.is_none() {
            backend.neighbor.want(self.id);
        }
        self.send_quietly(packet, hop, context);
    }

    /// A packet with a segment of leat's own; nothing without memory for it.
    pub(super) fn write_segment<O: Output<P>, T: Tracer>(
        &self,
        segment: &Segment<'_>,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let mut frame = [0; LONGEST_SEGMENT];
        let len = segment.write(&mut frame);
        let packet = context.output.create(&frame[..len]);
        context.tracer.note(Note::Says(segment));
        match packet {
            Some(_) => self.count().originated.add(1),
            None => self.count().drops.add(DropReason::NoBuffer, 1),
        }
        packet
    }

    /// Does what is due for the connections that the last sweep has met.
    pub(super) fn run_errands<O: Output<P>, T: Tracer>(&mut self, context: &mut Context<'_, O, T>) {
        while let Some(index) = self.errands.pop() {
            self.run_errand(index, context);
        }
    }

    #[cold]
    fn run_errand<O: Output<P>, T: Tracer>(&mut self, index: ConnectionIndex, context: &mut Context<'_, O, T>) {
        let connection = self.conntrack.connection(index);
        let snapshot = context.snapshot;
        let Some(backend) = snapshot.backend(connection.backend()) else { return };
        let (is_open, mut adjustment) = (connection.is_open(), self.conntrack.adjustment(index));
        if !is_open {
            adjustment.errand = Errand::None;
            return self.renew(index, &adjustment);
        }
        let doublings = u32::from(adjustment.tries.saturating_sub(1)).min(MOST_DOUBLINGS);
        if adjustment.tries == 0 || context.now.tick().since(adjustment.tried) < AGAIN_AFTER << doublings {
            return;
        }
        match adjustment.errand {
            Errand::Open if adjustment.tries >= MOST_TRIES => {
                return self.give_up(index, &adjustment, backend, context);
            }
            Errand::Open => self.request(index, &mut adjustment, backend, context),
            Errand::Introduce => self.introduce(index, &mut adjustment, backend, context),
            Errand::None => {}
        }
        self.renew(index, &adjustment);
    }
}

impl Adjustment {
    /// How a new connection of `service`, whose client begins with the sequence number after `initial`, is to be adjusted
    /// whatever its source port is.
    pub(super) fn of_service(service: &Service, original: &crate::flow::FlowKey, initial: u32) -> Self {
        let mut adjustment = Self { first: initial.wrapping_add(1), ..Self::default() };
        match service.client_address {
            ClientAddress::Hidden => {}
            ClientAddress::Option(kind) => adjustment.option = kind,
            ClientAddress::Proxy(version) => {
                let len = forward::proxy_header(version, original, &mut [0; LONGEST_PROXY_HEADER]);
                adjustment.inserted = len as u16;
                adjustment.introduces_in_binary = version == ProxyVersion::V2;
                adjustment.errand = Errand::Introduce;
            }
        }
        adjustment
    }

    /// The timestamps of a client's segment, as its backend shall see them.
    pub(super) const fn timestamps_for_backend(&self, value: u32, echo: u32) -> (u32, u32) {
        let echo = if echo == 0 { 0 } else { echo.wrapping_sub(self.reply_timestamp) };
        (value.wrapping_add(self.original_timestamp), echo)
    }

    /// Notes that the backend was sent this timestamp.
    pub(super) fn note_timestamp(&mut self, value: u32) {
        if self.latest_timestamp.is_none_or(|latest| value.wrapping_sub(latest).cast_signed() > 0) {
            self.latest_timestamp = Some(value);
        }
    }
}

/// Bytes of the segment's payload.
pub(super) fn payload_len(headers: &Headers, header: tcp::Header<'_>) -> usize {
    usize::from(headers.transport_len).saturating_sub(header.header_len())
}
