//! Answering clients' SYNs in place of backends, with nothing kept before a client has proved to be there (RFC 4987 §3.6).
//!
//! ```text
//! client                         leat                                backend
//!   SYN                     →    a cookie is all that is kept
//!       ←  SYN-ACK, window 0     which the sequence number is
//!   ACK                     →    the cookie is leat's: a connection
//!                                SYN, the client's number         →
//!                                    ←  SYN-ACK, the backend's number
//!                                ACK                              →
//!       ←  ACK, its window       from here on only numbers are changed
//! ```
//!
//! The client sends no data before its window is opened, so none has to be kept. What the backend does not answer is
//! sent again by leat itself; a backend that refuses, or never answers, lets the client have a RST.

use std::net::IpAddr;

use super::classify::Headers;
use super::known::link;
use super::{Context, Note, Pipeline, Tracer, hop};
use crate::conntrack::{Adjustment, ConnectionIndex, Direction, Errand, Segment as Tracked};
use crate::counters::DropReason;
use crate::flow::FlowKey;
use crate::forward::{self, LONGEST_SEGMENT, Segment};
use crate::id::{BackendId, ServiceId};
use crate::io::{Output, Packet};
use crate::service::{Backend, ClientAddress, Service, Snapshot, SynProxy};
use crate::syncookie::Offer;
use crate::wire::tcp_options::{self, Options};
use crate::wire::{ipv4, ipv6, tcp};

/// The scale that clients are told where they offered one: a window of 8 MiB.
const WINDOW_SCALE: u8 = 7;

/// How often a backend is asked for a connection, within 31 seconds.
pub(super) const MOST_TRIES: u8 = 5;

/// A service that is to be guarded when needed is, while it has so many half-open connections on one worker, …
const MOST_HALF_OPEN: usize = 1024;

/// … or a table of connections this share of them.
const SHARE_HALF_OPEN: usize = 8;

/// What a worker knows of attacks on a service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guard {
    /// TCP connections of its whose clients have not proved to be there.
    pub(super) half_open: u32,
}

/// A client's handshake, which leat has answered and the client has completed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshake {
    /// The client's SYN, as far as it is still known.
    pub(super) syn: Tracked,
    answer: Tracked,
    completion: Tracked,
    offer: Offer,
    timestamps: Option<(u32, u32)>,
}

impl Handshake {
    /// How the connection's segments are to be adjusted until the backend has answered, and then.
    pub(super) fn adjustment(&self, service: &Service, original: &FlowKey) -> Adjustment {
        Adjustment {
            reply_sequence: self.answer.seq,
            errand: Errand::Open,
            acknowledgment: self.completion.ack,
            window: self.completion.window,
            timestamps: self.timestamps,
            mss: self.offer.mss,
            sack_permitted: self.offer.sack_permitted,
            ..Adjustment::of_service(service, original, self.syn.seq)
        }
    }

    /// The client's timestamp, if it has some.
    pub(super) fn timestamp(&self) -> Option<u32> {
        self.timestamps.map(|(value, _)| value)
    }
}

impl<P> Pipeline<P> {
    /// What this worker knows of attacks on a service that there is.
    pub(super) fn guard(&mut self, service: ServiceId) -> &mut Guard {
        &mut self.guards[service.index()]
    }

    /// Takes the connection at `index`, which was opening, out of the count of those, if it is so no longer.
    pub(super) fn note_opened(&mut self, index: ConnectionIndex, backend: &Backend) {
        if !self.conntrack.connection(index).state().is_opening() {
            self.guard(backend.service).half_open -= 1;
        }
    }
}

impl<P: Packet> Pipeline<P> {
    /// Whether leat answers a SYN to this service itself.
    pub(super) fn answers_syn(&self, id: ServiceId, service: &Service) -> bool {
        match service.syn_proxy {
            SynProxy::Off => false,
            SynProxy::Always => true,
            SynProxy::Auto => {
                let most = (self.conntrack.capacity() / SHARE_HALF_OPEN).min(MOST_HALF_OPEN);
                self.guards.get(id.index()).is_some_and(|guard| guard.half_open as usize >= most)
            }
        }
    }

    /// Answers a client's SYN with a cookie.
    #[cold]
    pub(super) fn answer_with_cookie<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        service: &Service,
        context: &mut Context<'_, O, T>,
    ) {
        let Some(link) = link(&packet) else { return self.drop(packet, DropReason::EthernetSource, context) };
        let message = packet.data().get(usize::from(headers.transport)..).unwrap_or_default();
        let Some(syn) = tcp::Header::new(message) else { return self.drop(packet, DropReason::TcpTruncated, context) };
        let (key, offered) = (headers.key(), tcp_options::of(message));
        let milliseconds = (context.now.as_nanos() / 1_000_000) as u32;
        let segment = Segment {
            key: key.reversed(),
            sequence: self.cookies.make(&key, syn.sequence(), Offer::of(&offered), context.now),
            acknowledgment: syn.sequence().wrapping_add(1),
            flags: tcp::Flags::SYN.or(tcp::Flags::ACK),
            window: 0,
            options: Options {
                mss: Some(announced_mss(&packet, key.src, service, context.snapshot)),
                window_scale: offered.window_scale.map(|_| WINDOW_SCALE),
                sack_permitted: offered.sack_permitted,
                // 0 would be no echo.
                timestamps: offered.timestamps.map(|(value, _)| (milliseconds | 1, value)),
            },
            payload: &[],
        };
        let mut packet = packet;
        let mut frame = [0; LONGEST_SEGMENT];
        let len = segment.write(&mut frame);
        // Nearly every SYN has room for its answer.
        if let Some(room) = packet.data_mut().get_mut(..len) {
            room.copy_from_slice(&frame[..len]);
            packet.truncate(len);
        } else {
            let Some(answer) = context.output.create(&frame[..len]) else {
                return self.drop(packet, DropReason::NoBuffer, context);
            };
            context.output.discard(packet);
            packet = answer;
        }
        context.tracer.note(Note::Answered("a SYN, with a cookie, in place of a backend"));
        self.count().originated.add(1);
        self.count().cookies_sent.add(1);
        self.send_by_route(packet, key.src, hop(link), context);
    }

    /// The handshake that a client's segment completes, if it acknowledges one of leat's cookies.
    #[cold]
    pub(super) fn redeem<O, T>(
        &self,
        packet: &P,
        headers: &Headers,
        segment: &Tracked,
        context: &Context<'_, O, T>,
    ) -> Option<Handshake> {
        if !tcp::Flags(segment.flags).only_acknowledges() {
            return None;
        }
        let message = packet.data().get(usize::from(headers.transport)..)?;
        let cookie = segment.ack.wrapping_sub(1);
        // The ACK may be lost. What comes then is a probe of the closed window, from before the first byte.
        let initials = [segment.seq.wrapping_sub(1), segment.seq];
        let redeemed = initials
            .into_iter()
            .find_map(|initial| Some((initial, self.cookies.read(&headers.key(), initial, cookie, context.now)?)));
        let Some((initial, offer)) = redeemed else {
            self.count().cookies_refused.add(1);
            return None;
        };
        self.count().cookies_redeemed.add(1);
        let Offer { window_scale, .. } = offer;
        let syn = Tracked {
            flags: Tracked::SYN,
            seq: initial,
            ack: 0,
            window: forward::rescale(segment.window, window_scale.unwrap_or(0).cast_signed()),
            payload_len: 0,
            window_scale,
        };
        let answer = Tracked {
            flags: Tracked::SYN | Tracked::ACK,
            seq: cookie,
            ack: initial.wrapping_add(1),
            window: 0,
            payload_len: 0,
            window_scale: window_scale.map(|_| WINDOW_SCALE),
        };
        let completion = Tracked { seq: initial.wrapping_add(1), payload_len: 0, ..*segment };
        Some(Handshake { syn, answer, completion, offer, timestamps: tcp_options::of(message).timestamps })
    }

    /// Has the new connection at `index`, whose client has completed `handshake`, opened with the backend, too.
    pub(super) fn begin<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        index: ConnectionIndex,
        handshake: &Handshake,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let tick = context.now.tick();
        self.conntrack.track(index, Direction::Reply, Some(&handshake.answer), tick);
        self.conntrack.track(index, Direction::Original, Some(&handshake.completion), tick);
        self.note_opened(index, backend);
        let mut adjustment = self.conntrack.adjustment(index);
        self.request(index, &mut adjustment, backend, context);
        self.renew(index, &adjustment);
        self.drop(packet, DropReason::HandshakeConsumed, context);
    }

    /// Sends the backend the SYN of the connection at `index`.
    pub(super) fn request<O: Output<P>, T: Tracer>(
        &mut self,
        index: ConnectionIndex,
        adjustment: &mut Adjustment,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        (adjustment.tries, adjustment.tried) = (adjustment.tries.saturating_add(1), context.now.tick());
        let connection = self.conntrack.connection(index);
        let window_scale = connection.offered_window_scale();
        let timestamps = adjustment.timestamps.filter(|_| !adjustment.without_timestamps);
        let timestamps = timestamps.map(|(value, _)| adjustment.timestamps_for_backend(value, 0));
        let segment = Segment {
            key: connection.reply_key().reversed(),
            sequence: adjustment.first.wrapping_sub(1).wrapping_add(adjustment.original_sequence),
            acknowledgment: 0,
            flags: tcp::Flags::SYN,
            // The window of a SYN is not scaled (RFC 7323 §2.2).
            window: forward::rescale(adjustment.window, window_scale.unwrap_or(0).cast_signed()),
            options: Options {
                mss: Some(backend.mss_clamp.map_or(adjustment.mss, |most| most.min(adjustment.mss))),
                window_scale,
                sack_permitted: adjustment.sack_permitted,
                timestamps,
            },
            payload: &[],
        };
        if let (true, Some((value, _))) = (adjustment.remembers_timestamps, timestamps) {
            adjustment.note_timestamp(value);
        }
        self.say_to_backend(&segment, None, backend, context);
    }

    /// A backend's segment while it is to open the connection at `index`.
    #[cold]
    pub(super) fn hear_backend<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        headers: &Headers,
        index: ConnectionIndex,
        mut adjustment: Adjustment,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let message = packet.data().get(usize::from(headers.transport)..).unwrap_or_default();
        if let Some(header) = tcp::Header::new(message) {
            let flags = header.flags();
            let expected = adjustment.first.wrapping_add(adjustment.original_sequence);
            let is_answer = flags.contains(tcp::Flags::ACK) && header.acknowledgment() == expected;
            if is_answer && flags.contains(tcp::Flags::RST) {
                self.give_up(index, &adjustment, backend, context);
            } else if is_answer && flags.contains(tcp::Flags::SYN) {
                let options = tcp_options::of(message);
                self.connect(index, &mut adjustment, header.sequence(), header.window(), &options, backend, context);
            } else if flags.contains(tcp::Flags::ACK) && !flags.contains(tcp::Flags::RST) {
                // It knows another connection by this tuple, which is over here (RFC 9293 §3.5.2, figure 10).
                self.reset_backend(headers.key().reversed(), header.acknowledgment(), backend, context);
                self.request(index, &mut adjustment, backend, context);
                self.renew(index, &adjustment);
            }
        }
        self.drop(packet, DropReason::HandshakeConsumed, context);
    }

    /// The backend has answered, with this sequence number, window and options: from here on both talk with each other.
    #[expect(clippy::too_many_arguments, reason = "what a SYN-ACK says")]
    fn connect<O: Output<P>, T: Tracer>(
        &mut self,
        index: ConnectionIndex,
        adjustment: &mut Adjustment,
        sequence: u32,
        window: u16,
        options: &Options,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let connection = self.conntrack.connection(index);
        let cookie = adjustment.reply_sequence;
        let offered = connection.offered_window_scale();
        // What the client was told by leat, and what the backend says.
        let told = offered.map_or(0, |_| WINDOW_SCALE.cast_signed());
        match (offered, options.window_scale) {
            (Some(_), Some(scale)) => adjustment.reply_window = scale.cast_signed() - told,
            (Some(offered), None) => {
                (adjustment.original_window, adjustment.reply_window) = (offered.cast_signed(), -told);
            }
            (None, _) => {}
        }
        adjustment.reply_sequence = cookie.wrapping_sub(sequence);
        // The client has seen leat's clock, and has to see it go on.
        let echoes = adjustment.timestamps.zip(options.timestamps).map(|((value, clock), (other, _))| {
            adjustment.reply_timestamp = clock.wrapping_sub(other);
            (value.wrapping_add(adjustment.original_timestamp), other)
        });
        (adjustment.errand, adjustment.tries) = (Errand::None, 0);
        let to_backend = Segment {
            key: connection.reply_key().reversed(),
            sequence: adjustment.first.wrapping_add(adjustment.original_sequence),
            acknowledgment: sequence.wrapping_add(1),
            flags: tcp::Flags::ACK,
            window: forward::rescale(adjustment.window, adjustment.original_window),
            options: Options { timestamps: echoes, ..Options::default() },
            payload: &[],
        };
        let original = connection.original_key();
        let option = Some((adjustment.option, (original.src, original.src_port))).filter(|(kind, _)| *kind != 0);
        self.say_to_backend(&to_backend, option, backend, context);
        if adjustment.inserted != 0 {
            adjustment.errand = Errand::Introduce;
            self.introduce(index, adjustment, backend, context);
        }
        let to_client = Segment {
            key: connection.original_key().reversed(),
            sequence: cookie.wrapping_add(1),
            acknowledgment: adjustment.first,
            flags: tcp::Flags::ACK,
            // That of the SYN-ACK was not scaled; this one is.
            window: forward::rescale(window, -told),
            options: Options {
                timestamps: adjustment.timestamps.map(|(value, clock)| (clock, value)),
                ..Options::default()
            },
            payload: &[],
        };
        self.renew(index, adjustment);
        self.say_to_client(&to_client, index, backend, context);
    }

    /// The backend does not open the connection at `index`: its client hears so.
    #[cold]
    pub(super) fn give_up<O: Output<P>, T: Tracer>(
        &mut self,
        index: ConnectionIndex,
        adjustment: &Adjustment,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let segment = Segment {
            key: self.conntrack.connection(index).original_key().reversed(),
            sequence: adjustment.reply_sequence.wrapping_add(1),
            acknowledgment: adjustment.first,
            flags: tcp::Flags::RST.or(tcp::Flags::ACK),
            window: 0,
            options: Options::default(),
            payload: &[],
        };
        self.renew(index, &Adjustment { errand: Errand::None, ..*adjustment });
        self.say_to_client(&segment, index, backend, context);
    }

    /// Sends a segment of leat's own, in the name of `backend`, to the client of the connection at `index`.
    fn say_to_client<O: Output<P>, T: Tracer>(
        &mut self,
        segment: &Segment<'_>,
        index: ConnectionIndex,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) {
        let tracked = Tracked {
            flags: segment.flags.0,
            seq: segment.sequence,
            ack: segment.acknowledgment,
            window: segment.window,
            payload_len: 0,
            window_scale: None,
        };
        let change = self.conntrack.track(index, Direction::Reply, Some(&tracked), context.now.tick()).change;
        if let Some(change) = change {
            self.count_change(index, backend, change, context.snapshot);
        }
        let Some(packet) = self.write_segment(segment, context) else { return };
        let way = hop(self.conntrack.connection(index).link());
        let router = context.snapshot.route(segment.key.dst);
        self.send_quietly(packet, router.map_or(Some(way), |router| router.hop()), context);
    }
}

/// The largest segment that a client is told in a backend's place, in bytes: what the port's MTU has room for.
fn announced_mss<P: Packet>(packet: &P, client: IpAddr, service: &Service, snapshot: &Snapshot) -> u16 {
    // The longer of both sides' headers, where these differ in version.
    let is_v6 = |id: &BackendId| snapshot.backend(*id).is_some_and(|backend| backend.address.is_ipv6());
    let headers = match client {
        IpAddr::V4(_) if !service.backends.iter().any(is_v6) => ipv4::HEADER_LEN + tcp::HEADER_LEN,
        _ => ipv6::HEADER_LEN + tcp::HEADER_LEN,
    };
    let mtu = snapshot.port(packet.ingress()).map_or(576, |port| port.mtu);
    let option = match service.client_address {
        ClientAddress::Option(_) => forward::client_address_len(client),
        _ => 0,
    };
    let most = service.backends.first().and_then(|id| snapshot.backend(*id)).and_then(|backend| backend.mss_clamp);
    mtu.saturating_sub((headers + option) as u16).min(most.unwrap_or(u16::MAX))
}
