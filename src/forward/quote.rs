//! What an ICMP error quotes (RFC 792): the IPv4 header of the packet that it is about, and at least 8 bytes of what that
//! carried. The error goes the opposite way of that packet, through the same rewriting backwards, the quote included
//! (RFC 5508 §4).

use std::net::IpAddr;

use crate::flow::{FlowKey, PackedKey, Protocol};
use crate::wire::checksum::Delta;
use crate::wire::{ethernet, icmp, icmpv6, ip, ipv4, ipv6};

/// Where TCP has its checksum: a quote need not reach so far.
const TCP_CHECKSUM: usize = 16;
/// Where UDP has it.
const UDP_CHECKSUM: usize = 6;
/// Where ICMP has it, and an echo's identifier.
const ICMP_CHECKSUM: usize = 2;
const ECHO_IDENTIFIER: usize = 4;

/// The 5-tuple of the packet that the ICMP or ICMPv6 error `message` is about. `None` when it quotes too little, a fragment that is not
/// the first, or what is neither TCP, UDP nor an echo: there are no errors about errors (RFC 1122 §3.2.2, RFC 4443 §2.4).
pub fn quoted(message: &[u8]) -> Option<FlowKey> {
    let Quote { ip, protocol, at } = Quote::of(message)?;
    let transport = message.get(icmp::HEADER_LEN + at..)?;
    let (src_port, dst_port) = match protocol {
        Protocol::Tcp | Protocol::Udp => (word(transport, 0)?, word(transport, 2)?),
        Protocol::Icmp => match *transport.first()? {
            icmp::ECHO_REQUEST | icmpv6::ECHO_REQUEST => (word(transport, ECHO_IDENTIFIER)?, 0),
            icmp::ECHO_REPLY | icmpv6::ECHO_REPLY => (0, word(transport, ECHO_IDENTIFIER)?),
            _ => return None,
        },
    };
    Some(FlowKey { src: ip.source(), dst: ip.destination(), src_port, dst_port, protocol })
}

/// A quoted packet that can be read.
pub(super) struct Quote<'a> {
    pub(super) ip: ip::Header<'a>,
    protocol: Protocol,
    /// Where the transport header starts in it; 8 bytes of that are there.
    pub(super) at: usize,
}

impl<'a> Quote<'a> {
    pub(super) fn of(message: &'a [u8]) -> Option<Self> {
        let packet = message.get(icmp::HEADER_LEN..)?;
        let header = ip::Header::new(packet)?;
        // A first fragment says as much as a packet.
        let ip::Upper { protocol, at, .. } = ip::Upper::of(packet).filter(|upper| !upper.is_later_fragment())?;
        let protocol = Protocol::of(protocol, matches!(header, ip::Header::V6(_)))?;
        (packet.len() >= at + 8).then_some(Self { ip: header, protocol, at })
    }

    /// Bytes that the packet had from its transport header on.
    pub(super) fn transport_len(&self) -> u16 {
        self.ip.packet_len().saturating_sub(self.at).min(u16::MAX.into()) as u16
    }

    /// Its DSCP and ECN.
    pub(super) const fn traffic_class(&self) -> u8 {
        match self.ip {
            ip::Header::V4(ip) => ip.type_of_service(),
            ip::Header::V6(ip) => ip.traffic_class(),
        }
    }
}

/// Passes on the ICMP error at `message` of `frame`, as if it were about a packet with the 5-tuple `about`: it goes to the sender
/// of that, comes from `source`, and has one hop less to live. A checksum in the quote is adjusted if it is there, and stays as
/// wrong as it was; so does the error's own. The sequence number of a quoted TCP segment, by which its sender knows it again
/// (RFC 5927 §4.1), becomes what `recount` makes of it.
///
/// The quote was read before by [`quoted`], and is of the version of `about`: one that is not there is left alone.
pub fn translate_error(
    frame: &mut [u8],
    message: usize,
    source: IpAddr,
    about: &FlowKey,
    recount: impl Fn(u32) -> u32,
) {
    let Some((head, message)) = frame.split_at_mut_checked(message) else { return };
    let Some(change) = translate_quote(message, &about.pack(), recount) else { return };
    let Some(outer) = head.get_mut(ethernet::HEADER_LEN..) else { return };
    let to = FlowKey { src: source, dst: about.src, ..*about };
    let in_pseudo_header = match to.pack() {
        PackedKey::V4(to) => {
            ipv4::HeaderMut::new(outer).map(|mut outer| outer.forward(to.addresses()));
            Delta::NONE
        }
        PackedKey::V6(to) => ipv6::HeaderMut::new(outer).map_or(Delta::NONE, |mut outer| outer.forward(to.addresses())),
    };
    if let Some(mut header) = icmp::HeaderMut::new(message) {
        header.adjust(change.and(in_pseudo_header));
    }
}

/// Gives the packet that `message` quotes the 5-tuple `about`. Returns what that does to a checksum over the quote.
fn translate_quote(message: &mut [u8], about: &PackedKey, recount: impl Fn(u32) -> u32) -> Option<Delta> {
    let at = Quote::of(message)?.at;
    let (packet, transport) = message.get_mut(icmp::HEADER_LEN..)?.split_at_mut_checked(at)?;
    // What the addresses do to the transport's checksum, and to the sum over the header.
    let (addresses, in_header, icmp_has_pseudo_header) = match about {
        PackedKey::V4(about) => {
            let mut ip = ipv4::HeaderMut::new(packet)?;
            let addresses = Delta::NONE.replace_in_memory(ip.as_header().addresses(), about.addresses());
            (addresses, ip.readdress(about.addresses()), false)
        }
        PackedKey::V6(about) => {
            let addresses = ipv6::HeaderMut::new(packet)?.readdress(about.addresses());
            (addresses, addresses, true)
        }
    };
    let key = about.unpack();
    // ICMP's checksum is over no pseudo-header.
    let in_pseudo_header =
        if key.protocol == Protocol::Icmp && !icmp_has_pseudo_header { Delta::NONE } else { addresses };
    Some(in_header.and(rewrite(transport, &key, in_pseudo_header, recount)?))
}

/// Gives what is quoted of a transport header the ports of `key`, and adjusts its checksum, if it is there, for them and for
/// `in_pseudo_header`. Returns what that does to a checksum over the quote.
pub(super) fn rewrite(
    transport: &mut [u8],
    key: &FlowKey,
    in_pseudo_header: Delta,
    recount: impl Fn(u32) -> u32,
) -> Option<Delta> {
    let mut in_transport = Delta::NONE;
    let checksum = match key.protocol {
        Protocol::Tcp | Protocol::Udp => {
            in_transport =
                in_transport.and(replace(transport, 0, key.src_port)?).and(replace(transport, 2, key.dst_port)?);
            if key.protocol == Protocol::Tcp {
                let old = u32::from(word(transport, 4)?) << 16 | u32::from(word(transport, 6)?);
                let new = recount(old);
                in_transport = in_transport.and(replace(transport, 4, (new >> 16) as u16)?);
                in_transport = in_transport.and(replace(transport, 6, new as u16)?);
                TCP_CHECKSUM
            } else {
                UDP_CHECKSUM
            }
        }
        Protocol::Icmp => {
            // One of the two is the identifier, and the other is 0.
            in_transport = in_transport.and(replace(transport, ECHO_IDENTIFIER, key.src_port | key.dst_port)?);
            ICMP_CHECKSUM
        }
    };
    if let Some(old) = word(transport, checksum) {
        let new = match key.protocol {
            Protocol::Tcp | Protocol::Icmp => in_pseudo_header.and(in_transport).apply(old),
            // None stays none, and one that becomes 0 is written as all ones (RFC 768).
            Protocol::Udp if old == 0 => 0,
            Protocol::Udp => match in_pseudo_header.and(in_transport).apply(old) {
                0 => 0xffff,
                new => new,
            },
        };
        in_transport = in_transport.and(replace(transport, checksum, new)?);
    }
    Some(in_transport)
}

/// The 16-bit number at `at`.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

/// Puts a 16-bit number at `at`, which is even, and returns what that does to a checksum.
fn replace(bytes: &mut [u8], at: usize, new: u16) -> Option<Delta> {
    let place = bytes.get_mut(at..)?.first_chunk_mut()?;
    let old = u16::from_be_bytes(std::mem::replace(place, new.to_be_bytes()));
    Some(Delta::NONE.replace(old, new))
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Slice, Ipv4Header, PacketBuilder};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ip::Octets as _;

    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// A packet of this flow, its time to live and checksums as after `hops` routers.
    fn packet(key: &FlowKey, payload: &[u8], hops: u8) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(key.src.octets(), key.dst.octets(), 64 - hops);
        let mut packet = Vec::new();
        match (key.protocol, key.src_port) {
            (Protocol::Tcp, _) => builder.tcp(key.src_port, key.dst_port, 7, 1000).write(&mut packet, payload),
            (Protocol::Udp, _) => builder.udp(key.src_port, key.dst_port).write(&mut packet, payload),
            (Protocol::Icmp, 0) => builder.icmpv4_echo_reply(key.dst_port, 1).write(&mut packet, payload),
            (Protocol::Icmp, _) => builder.icmpv4_echo_request(key.src_port, 1).write(&mut packet, payload),
        }
        .unwrap();
        packet
    }

    /// A frame with an error of this type that quotes `quote`, from a router to its sender.
    fn error(kind: u8, code: u8, to: IpAddr, quote: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4(ROUTER.octets(), to.octets(), 64)
            .icmpv4_raw(kind, code, [0, 0, 5, 220])
            .write(&mut frame, quote)
            .unwrap();
        frame
    }

    fn keys() -> impl Strategy<Value = (FlowKey, FlowKey)> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Icmp)];
        (protocol, any::<bool>(), any::<[[u8; 4]; 4]>(), any::<[u16; 4]>()).prop_map(
            |(protocol, is_reply, ips, ports)| {
                let key = |src: [u8; 4], dst: [u8; 4], src_port, dst_port| FlowKey {
                    src: src.into(),
                    dst: dst.into(),
                    src_port: if protocol == Protocol::Icmp && is_reply { 0 } else { src_port },
                    dst_port: if protocol == Protocol::Icmp && !is_reply { 0 } else { dst_port },
                    protocol,
                };
                (
                    key(ips[0], ips[1], ports[0].max(1), ports[1].max(1)),
                    key(ips[2], ips[3], ports[2].max(1), ports[3].max(1)),
                )
            },
        )
    }

    proptest! {
        #[test]
        fn the_sender_finds_its_own_packet_quoted_and_every_checksum_right(
            (sent, about) in keys(),
            payload in prop::collection::vec(any::<u8>(), 0..100),
            quoted_len in 28..160_usize,
        ) {
            let whole = packet(&sent, &payload, 1);
            let quoted_len = quoted_len.min(whole.len());
            let mut frame = error(3, 4, sent.src, &whole[..quoted_len]);
            prop_assert_eq!(quoted(&frame[34..]), Some(sent));
            translate_error(&mut frame, 34, about.dst, &about, |number| number);

            let (outer, message) = Ipv4Header::from_slice(&frame[14..]).unwrap();
            prop_assert_eq!(outer.header_checksum, outer.calc_header_checksum());
            prop_assert_eq!((outer.source, outer.destination), (about.dst.octets(), about.src.octets()));
            prop_assert_eq!(outer.time_to_live, 63);
            let icmp = Icmpv4Slice::from_slice(message).unwrap();
            prop_assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
            // What the sender had sent, as etherparse builds it anew.
            let expected = packet(&about, &payload, 1);
            let quote = &message[8..];
            let (inner, _) = Ipv4Header::from_slice(quote).unwrap();
            prop_assert_eq!(inner.header_checksum, inner.calc_header_checksum());
            let udp_zero = sent.protocol == Protocol::Udp;
            // Half a checksum cannot be adjusted, and nobody can read it.
            let is_cut = quoted_len == 20 + TCP_CHECKSUM + 1 && sent.protocol == Protocol::Tcp;
            for at in 0..quoted_len - usize::from(is_cut) {
                // Ones' complement has two zeros, and UDP's rule chooses one.
                let is_checksum = (26..28).contains(&at) && udp_zero;
                prop_assert!(quote[at] == expected[at] || is_checksum && expected[26..28] == [0xff, 0xff], "byte {}", at);
            }
        }

        #[test]
        fn no_message_makes_it_panic(message in prop::collection::vec(any::<u8>(), 0..80), (_, about) in keys()) {
            let _ = quoted(&message);
            let mut frame = vec![0x45; 34];
            frame.extend_from_slice(&message);
            translate_error(&mut frame, 34, ROUTER, &about, |number| number);
            prop_assert_eq!(frame.len(), 34 + message.len());
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_about_nothing() {
        let key = FlowKey {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            src_port: 4000,
            dst_port: 80,
            protocol: Protocol::Tcp,
        };
        let whole = packet(&key, b"", 0);
        let of = |quote: &[u8]| quoted(&[&[3, 4, 0, 0, 0, 0, 0, 0], quote].concat());
        assert_eq!(of(&whole[..28]), Some(key));
        assert_eq!(of(&whole[..27]), None, "7 bytes of TCP");
        let with = |at: usize, value: u8| {
            let mut quote = whole.clone();
            quote[at] = value;
            quote
        };
        assert_eq!(of(&with(7, 1)), None, "a later fragment");
        assert_eq!(of(&with(6, 0x20)), Some(key), "a first fragment");
        assert_eq!(of(&with(0, 0x65)), None, "another version");
        assert_eq!(of(&with(0, 0x44)), None, "a header of 16 bytes");
        assert_eq!(of(&with(9, 50)), None, "another protocol");
        let mut about_error = with(9, 1);
        about_error[20] = 3;
        assert_eq!(of(&about_error), None, "an error about an error");
    }
}
