//! What each mode writes into a packet.
//!
//! All modes that translate addresses share [`translate`]: it takes the tuple that the packet shall have and changes
//! nothing else but the time to live and the checksums. Sequence numbers, options and payload are not touched.

mod complaint;
mod cross;
mod fragment;
mod mss;
mod proxy_protocol;
mod quote;
mod reset;
mod segment;
mod shift;
mod tunnel;

pub use complaint::{Complaint, LONGEST_COMPLAINT, complain};
pub use cross::{
    NoCrossing, carried_len, cross, cross_error, crossed_len, crosses_in_fragments, is_fragment, may_be_cut,
};
pub use fragment::{LONGEST_CUT, fragment};
pub use mss::clamp as clamp_mss;
pub use proxy_protocol::{LONGEST_PROXY_HEADER, proxy_header};
pub use quote::{quoted, translate_error};
pub use reset::reset;
pub use segment::{LONGEST_SEGMENT, Segment, add_client_address, client_address_len};
pub use shift::{Shift, lower_mss, rescale, shift, timestamps};
pub use tunnel::{IPIP, IPV6, NoRoom, encapsulate};

use crate::flow::{PackedKey, PackedKey4, PackedKey6, Protocol};
use crate::neighbor::Hop;
use crate::wire::checksum::Delta;
use crate::wire::{MacAddr, ethernet, icmp, ipv4, ipv6, tcp, udp};

/// Gives the packet in `frame` the addresses and ports of `to`, which are of its version, one hop less to live, and checksums
/// adjusted for just that (RFC 1624). `transport` is where the transport header starts in the frame.
///
/// The frame was parsed before: a header that is not there is left alone.
#[inline(always)]
pub fn translate(frame: &mut [u8], transport: usize, to: &PackedKey) {
    match (to, frame.first_chunk_mut()) {
        // Nearly every header is where it is without options. Where that is known, no check of a length is left.
        (PackedKey::V4(to), Some(headers)) if transport == ethernet::HEADER_LEN + ipv4::HEADER_LEN => {
            translate_plain(headers, to);
        }
        (PackedKey::V4(to), _) => translate_anywhere(frame, transport, to),
        (PackedKey::V6(to), _) => translate_v6(frame, transport, to),
    }
}

/// The start of a frame whose headers have no options: those of Ethernet and IPv4, and as many bytes as TCP's has.
pub const PLAIN_HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// What [`translate`] does, to such headers.
#[inline(always)]
pub fn translate_plain(headers: &mut [u8; PLAIN_HEADERS], to: &PackedKey4) {
    translate_at(headers, ethernet::HEADER_LEN + ipv4::HEADER_LEN, to);
}

#[cold]
fn translate_anywhere(frame: &mut [u8], transport: usize, to: &PackedKey4) {
    translate_at(frame, transport, to);
}

#[inline(always)]
fn translate_at(frame: &mut [u8], transport: usize, to: &PackedKey4) {
    let Some((head, message)) = frame.split_at_mut_checked(transport) else { return };
    let Some(mut ip) = head.get_mut(ethernet::HEADER_LEN..).and_then(ipv4::HeaderMut::new) else { return };
    let addresses = ip.forward(to.addresses());
    match to.protocol() {
        // ICMP's checksum is over no pseudo-header.
        Protocol::Icmp => translate_transport(message, to.protocol(), to.ports(), Delta::NONE),
        protocol => translate_transport(message, protocol, to.ports(), addresses),
    }
}

fn translate_v6(frame: &mut [u8], transport: usize, to: &PackedKey6) {
    let Some((head, message)) = frame.split_at_mut_checked(transport) else { return };
    let Some(mut ip) = head.get_mut(ethernet::HEADER_LEN..).and_then(ipv6::HeaderMut::new) else { return };
    let addresses = ip.forward(to.addresses());
    translate_transport(message, to.protocol(), to.ports(), addresses);
}

/// What [`translate`] does to an IPv6 packet without extension headers, where it is known what that does to a checksum over
/// the `addresses`.
#[inline(always)]
pub fn translate_plain_v6(frame: &mut [u8], to: &PackedKey6, addresses: Delta) {
    let Some((head, message)) = frame.split_first_chunk_mut::<PLAIN_HEADERS_V6>() else { return };
    let Some(mut ip) = ipv6::HeaderMut::new(&mut head[ethernet::HEADER_LEN..]) else { return };
    ip.forward_reckoned(to.addresses());
    translate_transport(message, to.protocol(), to.ports(), addresses);
}

/// The start of a frame of IPv6 without extension headers, up to the transport header.
pub const PLAIN_HEADERS_V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;

/// Gives the message its ports, as they lie in memory, and adjusts its checksum for them and for `addresses`.
#[inline(always)]
fn translate_transport(message: &mut [u8], protocol: Protocol, ports: u32, addresses: Delta) {
    match protocol {
        Protocol::Tcp => {
            if let Some(mut header) = tcp::HeaderMut::new(message) {
                header.forward(ports, addresses);
            }
        }
        Protocol::Udp => {
            if let Some(mut header) = udp::HeaderMut::new(message) {
                header.forward(ports, addresses);
            }
        }
        Protocol::Icmp => {
            if let Some(mut header) = icmp::HeaderMut::new(message) {
                // One of the two is the identifier, and the other is 0.
                let [a, b, c, d] = ports.to_ne_bytes();
                header.forward(u16::from_be_bytes([a | c, b | d]), addresses);
            }
        }
    }
}

/// Addresses `frame` to the next hop.
#[inline(always)]
pub fn address(frame: &mut [u8], hop: Hop, from: MacAddr) {
    if let Some(mut header) = ethernet::HeaderMut::new(frame) {
        header.set_addresses(hop.mac, from);
    }
}

/// An independent judge of what is written.
#[cfg(test)]
pub(crate) mod judge {
    use etherparse::{Ipv4Header, NetSlice, SlicedPacket, TcpSlice, TransportSlice};

    /// What `look` sees of the TCP segment in `frame`, whose checksums etherparse finds right.
    pub(crate) fn see<T>(frame: &[u8], look: impl FnOnce(&Ipv4Header, &TcpSlice<'_>) -> T) -> T {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
            panic!("{packet:?}")
        };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination).unwrap());
        look(&header, tcp)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::flow::FlowKey;
    use crate::wire::ip::Octets as _;

    fn frame(protocol: Protocol, from: &FlowKey, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from.src.octets(), from.dst.octets(), 64);
        let mut frame = Vec::new();
        match protocol {
            Protocol::Tcp => builder.tcp(from.src_port, from.dst_port, 7, 1000).write(&mut frame, payload),
            Protocol::Udp => builder.udp(from.src_port, from.dst_port).write(&mut frame, payload),
            Protocol::Icmp => builder.icmpv4_echo_request(from.src_port, 1).write(&mut frame, payload),
        }
        .unwrap();
        frame
    }

    /// Whether etherparse, summing everything anew, finds the checksums that stand in the frame.
    fn checksums_are_right(frame: &[u8]) -> bool {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("not IPv4") };
        let header = ip.header().to_header();
        let transport = match packet.transport.unwrap() {
            TransportSlice::Tcp(tcp) => {
                tcp.checksum() == tcp.calc_checksum_ipv4(header.source, header.destination).unwrap()
            }
            TransportSlice::Udp(udp) => {
                udp.checksum() == udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap()
            }
            TransportSlice::Icmpv4(icmp) => icmp.checksum() == icmp.icmp_type().calc_checksum(icmp.payload()),
            other => panic!("{other:?}"),
        };
        header.header_checksum == header.calc_header_checksum() && transport
    }

    fn keys(protocol: Protocol) -> impl Strategy<Value = FlowKey> {
        (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), any::<u16>()).prop_map(
            move |(src, dst, src_port, dst_port)| FlowKey {
                src: IpAddr::from(src),
                dst: IpAddr::from(dst),
                src_port,
                dst_port: if protocol == Protocol::Icmp { 0 } else { dst_port },
                protocol,
            },
        )
    }

    fn protocols_with_keys() -> impl Strategy<Value = (FlowKey, FlowKey)> {
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Icmp)]
            .prop_flat_map(|protocol| (keys(protocol), keys(protocol)))
    }

    proptest! {
        #[test]
        fn checksums_stay_right_and_the_rest_stays_as_it_was(
            (from, to) in protocols_with_keys(),
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let before = frame(from.protocol, &from, &payload);
            prop_assume!(checksums_are_right(&before));
            let mut after = before.clone();
            translate(&mut after, 34, &to.pack());
            prop_assert!(checksums_are_right(&after));
            let expected = {
                let mut expected = frame(to.protocol, &to, &payload);
                expected[22] = 63;
                expected
            };
            // All but the two checksums, which etherparse has just judged.
            let checksum = match to.protocol { Protocol::Tcp => 50, Protocol::Udp => 40, Protocol::Icmp => 36 };
            for at in (0..after.len()).filter(|at| ![24, 25, checksum, checksum + 1].contains(at)) {
                prop_assert_eq!(after[at], expected[at], "byte {}", at);
            }
        }

        #[test]
        fn a_damaged_payload_stays_damaged(
            (from, to) in protocols_with_keys(),
            payload in prop::collection::vec(any::<u8>(), 2..200),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut damaged = frame(from.protocol, &from, &payload);
            let start = damaged.len() - payload.len();
            damaged[start + at.index(payload.len())] ^= 1 << bit;
            translate(&mut damaged, 34, &to.pack());
            prop_assert!(!checksums_are_right(&damaged));
        }
    }

    #[test]
    fn a_frame_without_the_headers_it_should_have_is_left_alone() {
        let to = FlowKey {
            src: [1, 2, 3, 4].into(),
            dst: [5, 6, 7, 8].into(),
            src_port: 1,
            dst_port: 2,
            protocol: Protocol::Tcp,
        };
        for len in 0..54 {
            let mut frame = vec![0x45; len];
            translate(&mut frame, 34, &to.pack());
            address(&mut frame, Hop { mac: MacAddr::BROADCAST, port: crate::id::PortId(0) }, MacAddr::BROADCAST);
            assert_eq!(frame.len(), len);
        }
    }
}
