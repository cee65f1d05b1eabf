//! Encapsulation: the client's packet, whole and unchanged, inside an IP packet to the backend. Either can be of either version.
//!
//! `ipip` is RFC 2003, and with IPv6 inside or outside RFC 4213 and RFC 2473: outer header, inner packet. `gue` puts UDP in between (draft-ietf-intarea-gue-09): version 0 with
//! its 4-byte header, version 1 with nothing, told apart by the first bits of what follows. The inner packet stays as it
//! is to the byte, its time to live too: RFC 2003 §3.1 would lower it, but a backend behind a tunnel is no further from
//! the client than one that is not.
//!
//! ```text
//! Ethernet | IP own address → backend |                                    | the client's packet     ipip
//! Ethernet | IP own address → backend | UDP entropy → 6080 | 00 04 00 00   | the client's packet     gue, version 0
//! Ethernet | IP own address → backend | UDP entropy → 6080 |               | the client's packet     gue, version 1
//! ```
//!
//! In GUE's header 04 is for IPv4 inside, and 41 in its place for IPv6.

use std::net::IpAddr;

use crate::io::Packet;
use crate::service::{Encapsulation, Tunnel};
use crate::wire::{ethernet, ip, ipv4, ipv6, udp};

/// The outer header's time to live.
const TTL: u8 = 64;

/// IANA protocol number of an IPv4 packet inside another.
pub const IPIP: u8 = 4;

/// IANA protocol number of IPv6 in IP (RFC 2473, RFC 4213).
pub const IPV6: u8 = 41;

/// IANA protocol number of UDP.
const UDP: u8 = 17;

/// The first of the source ports that carry the flow's entropy: 49152 to 65535 (RFC 6335 §6, dynamic ports).
const FIRST_ENTROPY_PORT: u16 = 0xc000;

/// Puts the IP packet of `len` bytes in `packet` inside. `hash` is its flow's, and `identification` the outer header's.
/// Ethernet's padding is cut off; the Ethernet addresses are still to be written.
///
/// # Errors
///
/// [`NoRoom`], when the buffer has no room for more headers; the packet is then as it was.
#[inline(always)]
pub fn encapsulate<P: Packet>(
    packet: &mut P,
    way: &Encapsulation,
    len: usize,
    hash: u64,
    identification: u16,
) -> Result<(), NoRoom> {
    match (&way.source, &way.destination) {
        (&IpAddr::V4(source), &IpAddr::V4(destination)) => {
            wrap(packet, way.tunnel, len, hash, |header: &mut [u8; ipv4::HEADER_LEN], inner, protocol, payload_len| {
                let fields = ipv4::Fields {
                    // DSCP as in RFC 2983's uniform model, ECN by RFC 6040 §4.1, both by copying; DF by RFC 2003 §3.1.
                    type_of_service: inner.traffic_class,
                    total_len: ipv4::HEADER_LEN as u16 + payload_len,
                    identification,
                    dont_fragment: inner.dont_fragment,
                    ttl: TTL,
                    protocol,
                    source,
                    destination,
                };
                fields.write(header);
                None
            })
        }
        _ => encapsulate_v6(packet, way, len, hash),
    }
}

/// The same, in IPv6.
#[inline(never)]
fn encapsulate_v6<P: Packet>(packet: &mut P, way: &Encapsulation, len: usize, hash: u64) -> Result<(), NoRoom> {
    // A way leads from one version to the same.
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (way.source, way.destination) else { return Err(NoRoom) };
    wrap(packet, way.tunnel, len, hash, |header: &mut [u8; ipv6::HEADER_LEN], inner, protocol, payload_len| {
        let fields = ipv6::Fields {
            traffic_class: inner.traffic_class,
            // Routers spread flows by it (RFC 6438).
            flow_label: (hash >> 44) as u32,
            payload_len,
            next_header: protocol,
            hop_limit: TTL,
            source,
            destination,
        };
        fields.write(header);
        // There is no other sum over the addresses, and hosts refuse datagrams without one (RFC 8200 §8.1).
        Some((source.into(), destination.into()))
    })
}

/// Puts the packet inside another, whose IP header of `N` bytes `outer` writes, from what is to be known of the inner packet, the
/// protocol and the length of what follows. If `outer` gives addresses, a datagram between them gets a checksum in any case.
#[inline(always)]
fn wrap<P: Packet, const N: usize>(
    packet: &mut P,
    tunnel: Tunnel,
    len: usize,
    hash: u64,
    outer: impl FnOnce(&mut [u8; N], &Inner, u8, u16) -> Option<(IpAddr, IpAddr)>,
) -> Result<(), NoRoom> {
    let between_len = usize::from(tunnel.between());
    let overhead = N + between_len;
    let Some(inner) = Inner::of(packet.data()) else { return Err(NoRoom) };
    if !packet.prepend(overhead) {
        return Err(NoRoom);
    }
    packet.truncate(ethernet::HEADER_LEN + overhead + len);
    let frame = packet.data_mut();
    let Some((ethernet, rest)) = frame.split_at_mut_checked(ethernet::HEADER_LEN) else { return Err(NoRoom) };
    let Some((ip, rest)) = rest.split_first_chunk_mut() else { return Err(NoRoom) };
    let Some((between, content)) = rest.split_at_mut_checked(between_len) else { return Err(NoRoom) };
    if let Some(mut header) = ethernet::HeaderMut::new(ethernet) {
        let is_v4 = N == ipv4::HEADER_LEN;
        header.set_ether_type(if is_v4 { ethernet::EtherType::IPV4 } else { ethernet::EtherType::IPV6 });
    }
    let protocol = if let Tunnel::Ipip = tunnel { inner.protocol } else { UDP };
    let summed = outer(ip, &inner, protocol, (between_len + len) as u16);
    if let Tunnel::Gue(gue) = tunnel
        && let Some((header, rest)) = between.split_first_chunk_mut()
    {
        rest.copy_from_slice(&[0, inner.protocol, 0, 0][..rest.len()]);
        let length = (udp::HEADER_LEN + rest.len() + len) as u16;
        let port = FIRST_ENTROPY_PORT | (hash >> 48) as u16;
        udp::write(header, port, gue.port, length, 0);
        let ends = || ip::Header::new(ip).map(|ip| (ip.source(), ip.destination()));
        if let Some((source, destination)) = summed.or_else(|| gue.checksum.then(ends).flatten()) {
            let pseudo = ip::pseudo_header(source, destination, UDP, length);
            let sum = pseudo.and_bytes(header).and_bytes(rest).and_bytes(content).finish();
            udp::write(header, port, gue.port, length, sum);
        }
    }
    Ok(())
}

/// There is no room in front of the packet, or no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// What the outer headers need to know of the packet inside.
struct Inner {
    /// DSCP and ECN.
    traffic_class: u8,
    /// Whether routers must not cut it: in IPv6 they never do.
    dont_fragment: bool,
    /// What it is, by its number.
    protocol: u8,
}

impl Inner {
    #[inline(always)]
    fn of(frame: &[u8]) -> Option<Self> {
        Some(match ip::Header::new(frame.get(ethernet::HEADER_LEN..)?)? {
            ip::Header::V4(ip) => {
                Self { traffic_class: ip.type_of_service(), dont_fragment: ip.dont_fragment(), protocol: IPIP }
            }
            ip::Header::V6(ip) => Self { traffic_class: ip.traffic_class(), dont_fragment: true, protocol: IPV6 },
        })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::id::PortId;
    use crate::io::memory::Frame;
    use crate::service::{Gue, GueVersion};
    use crate::wire::ip::Octets as _;

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
    const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn client_packet(payload: &[u8], type_of_service: u8, dont_fragment: bool) -> Vec<u8> {
        let mut ip = etherparse::Ipv4Header::new(
            8 + payload.len() as u16,
            9,
            etherparse::IpNumber::UDP,
            [10, 0, 0, 1],
            [10, 0, 0, 10],
        )
        .unwrap();
        ip.dscp = etherparse::IpDscp::try_new(type_of_service >> 2).unwrap();
        ip.ecn = etherparse::IpEcn::try_new(type_of_service & 3).unwrap();
        ip.dont_fragment = dont_fragment;
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
            .udp(4000, 53)
            .write(&mut frame, payload)
            .unwrap();
        frame
    }

    fn through(tunnel: Tunnel, frame: &[u8], padding: usize) -> Vec<u8> {
        let mut bytes = frame.to_vec();
        bytes.resize(frame.len() + padding, 0);
        let mut packet = Frame::new(bytes, PortId(0));
        let way = Encapsulation { source: SOURCE, destination: BACKEND, tunnel, path_mtu: Arc::default() };
        encapsulate(&mut packet, &way, frame.len() - 14, 0x1234_5678_9abc_def0, 77).unwrap();
        packet.into_bytes()
    }

    #[test]
    fn ipip_carries_the_packet_whole_and_copies_what_the_rfcs_say() {
        for (type_of_service, dont_fragment) in [(0, true), (0xb8, false), (0x03, true), (0xfd, false)] {
            let frame = client_packet(b"hello", type_of_service, dont_fragment);
            let outer = through(Tunnel::Ipip, &frame, 13);
            assert_eq!(outer[34..], frame[14..], "the inner packet, without Ethernet's padding");
            let (ip, _) = etherparse::Ipv4Header::from_slice(&outer[14..]).unwrap();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!((ip.source, ip.destination), (SOURCE.octets(), BACKEND.octets()));
            assert_eq!((ip.time_to_live, ip.protocol.0, ip.identification), (64, 4, 77));
            assert_eq!((ip.dscp.value() << 2) | ip.ecn.value(), type_of_service);
            assert_eq!(ip.dont_fragment, dont_fragment);
            assert_eq!(usize::from(ip.total_len), outer.len() - 14);
        }
    }

    #[test]
    fn gue_carries_it_in_udp_with_the_entropy_of_the_flow() {
        for (version, checksum, overhead) in [
            (GueVersion::V0, false, 32),
            (GueVersion::V0, true, 32),
            (GueVersion::V1, false, 28),
            (GueVersion::V1, true, 28),
        ] {
            for payload in [&b"hello"[..], b"hello!"] {
                let frame = client_packet(payload, 0, true);
                let gue = Gue { port: 6080, version, checksum };
                let outer = through(Tunnel::Gue(gue), &frame, 0);
                assert_eq!(outer.len(), frame.len() + overhead);
                assert_eq!(outer[14 + overhead..], frame[14..]);
                let packet = SlicedPacket::from_ethernet(&outer).unwrap();
                let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport)
                else {
                    panic!("{packet:?}")
                };
                assert_eq!((udp.source_port(), udp.destination_port()), (0xc000 | 0x1234, 6080));
                let right = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap();
                assert_eq!(udp.checksum(), if checksum { right } else { 0 });
                assert_eq!(udp.payload().starts_with(&[0, 4, 0, 0]), version == GueVersion::V0);
            }
        }
    }
}
