//! What a packet must be before it may leave its tunnel for this host's own stack.
//!
//! The balancer has looked at the packet, but whoever reaches the agent's sockets can send it anything: so each packet
//! is checked whole, and nothing gets in by the tunnel that could not have come to the VIP without it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::ecn::{self, Ecn};
use super::{DropReason, Version};
use crate::wire::ip::{self, Upper};
use crate::wire::ipv6::{self, WrongExtension};
use crate::wire::{icmpv6, ipv4, udp};

/// IANA's numbers of protocols that carry packets: IPv4, IPv6, GRE.
const TUNNELS: [u8; 3] = [4, 41, 47];
const UDP: u8 = 17;
/// IANA's numbers of IPv6's extension headers that may stand behind a fragment's: hop-by-hop options, which may not, routing,
/// destination options.
const EXTENSIONS: [u8; 3] = [0, 43, 60];

/// What is let through.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Sorted.
    vips: Box<[IpAddr]>,
    from: Box<[IpNet]>,
    gue_port: u16,
    /// Sorted.
    own: Arc<[IpAddr]>,
}

/// The outer header, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// Who sent the tunnel packet.
    pub source: IpAddr,
    /// Where it was sent, if that is one of this host's own addresses.
    pub destination: Option<IpAddr>,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl Policy {
    /// Lets packets to `vips` through, in tunnel packets from `from` (from anywhere when it is empty). UDP to
    /// `gue_port` counts as a tunnel.
    pub fn new(vips: &[IpAddr], from: &[IpNet], gue_port: u16) -> Self {
        let mut vips: Box<[_]> = vips.into();
        vips.sort_unstable();
        Self { vips, from: from.into(), gue_port, own: Arc::default() }
    }

    /// Tells it the host's own addresses, sorted: what comes by the network comes from none of them.
    pub fn set_own(&mut self, own: Arc<[IpAddr]>) {
        self.own = own;
    }

    /// Judges a tunnel packet by its outer header.
    ///
    /// # Errors
    /// Why the packet is to be dropped.
    #[inline(always)]
    pub fn admit(&self, outer: Outer) -> Result<(), DropReason> {
        if !self.from.is_empty() && !self.from.iter().any(|net| net.contains(&outer.source)) {
            return Err(DropReason::OuterSource);
        }
        if !self.may_send(outer.source) {
            return Err(DropReason::OuterSource);
        }
        match outer.destination {
            Some(address) if !self.is_vip(address) => Ok(()),
            _ => Err(DropReason::OuterDestination),
        }
    }

    /// Judges what was in the tunnel, and takes the outer header's congestion mark over into it. `version` is what the
    /// tunnel says that it is. Returns its length: what follows in `bytes` is padding.
    ///
    /// # Errors
    /// Why the packet is to be dropped.
    #[inline(always)]
    pub fn inspect(&self, bytes: &mut [u8], version: Version, outer_traffic_class: u8) -> Result<usize, DropReason> {
        let (packet, upper) = match version {
            Version::V4 => whole_v4(bytes)?,
            Version::V6 => whole_v6(bytes)?,
        };
        let header = ip::Header::new(packet).ok_or(DropReason::InnerTruncated)?;
        if !self.is_vip(header.destination()) {
            return Err(DropReason::ForeignVip);
        }
        if !self.may_send(header.source()) {
            return Err(DropReason::InnerSource);
        }
        if self.is_tunnel(packet, &upper) {
            return Err(DropReason::NestedTunnel);
        }
        let (traffic_class, is_discovery) = match header {
            ip::Header::V4(header) => (header.type_of_service(), false),
            ip::Header::V6(header) => (header.traffic_class(), is_neighbor_discovery(packet, &upper)),
        };
        if is_discovery {
            return Err(DropReason::NeighborDiscovery);
        }
        let length = packet.len();
        let ecn =
            ecn::decapsulated(Ecn::of(traffic_class), Ecn::of(outer_traffic_class)).ok_or(DropReason::Congestion)?;
        ecn::write(bytes, version, ecn);
        Ok(length)
    }

    fn is_vip(&self, address: IpAddr) -> bool {
        self.vips.binary_search(&address).is_ok()
    }

    /// Whether somebody beyond the network can have this address.
    fn may_send(&self, address: IpAddr) -> bool {
        ip::is_station(address) && !self.is_vip(address) && self.own.binary_search(&address).is_err()
    }

    fn is_tunnel(&self, packet: &[u8], upper: &Upper) -> bool {
        match upper.protocol {
            // Only a first fragment has ports, and without it the others come to nothing.
            UDP if !upper.is_later_fragment() => {
                let udp = packet.get(upper.at..).and_then(udp::Header::new);
                udp.is_some_and(|udp| udp.destination_port() == self.gue_port)
            }
            protocol => TUNNELS.contains(&protocol),
        }
    }
}

/// The IPv4 packet that `bytes` begin with, if its header is right, and what it carries.
fn whole_v4(bytes: &[u8]) -> Result<(&[u8], Upper), DropReason> {
    let header = ipv4::Header::new(bytes).ok_or(DropReason::InnerTruncated)?;
    if header.version() != 4 {
        return Err(DropReason::InnerVersion);
    }
    let header_len = header.header_len();
    if header_len < ipv4::HEADER_LEN || header_len > bytes.len() {
        return Err(DropReason::InnerHeaderLength);
    }
    let packet = bytes.get(..usize::from(header.total_len())).ok_or(DropReason::InnerLength)?;
    let options = packet.get(..header_len).ok_or(DropReason::InnerLength)?;
    if !ipv4::checksum_is_right(options) {
        return Err(DropReason::InnerChecksum);
    }
    if ipv4::has_source_route(options) {
        return Err(DropReason::InnerSourceRoute);
    }
    let upper = Upper::of(packet).ok_or(DropReason::InnerHeaderLength)?;
    Ok((packet, upper))
}

/// The IPv6 packet that `bytes` begin with, if its headers are right, and what it carries.
fn whole_v6(bytes: &[u8]) -> Result<(&[u8], Upper), DropReason> {
    let header = ipv6::Header::new(bytes).ok_or(DropReason::InnerTruncated)?;
    if header.version() != 6 {
        return Err(DropReason::InnerVersion);
    }
    let length = ipv6::HEADER_LEN + usize::from(header.payload_len());
    let packet = bytes.get(..length).ok_or(DropReason::InnerLength)?;
    let upper = ipv6::upper(packet).map_err(|wrong| match wrong {
        WrongExtension::Routing => DropReason::InnerSourceRoute,
        WrongExtension::Truncated | WrongExtension::TooMany => DropReason::InnerExtension,
    })?;
    // What such a header hides would come to light only when the packet is whole again, behind this check. A first fragment
    // holds all headers (RFC 7112), and leat's clients have no use for these there.
    if upper.is_fragment() && EXTENSIONS.contains(&upper.protocol) {
        return Err(DropReason::InnerExtension);
    }
    Ok((packet, upper))
}

/// Whether a packet speaks of a link, which its sender beyond the balancer is not on (RFC 4861 §6.1, §7.1). A piece of such
/// a message is none: the kernel takes no message of discovery in pieces (RFC 6980).
fn is_neighbor_discovery(packet: &[u8], upper: &Upper) -> bool {
    upper.protocol == icmpv6::PROTOCOL
        && packet.get(upper.at).is_some_and(|&kind| icmpv6::is_neighbor_discovery(kind))
        && !upper.is_later_fragment()
}

#[cfg(test)]
mod tests {
    use super::*;

    use etherparse::{IpNumber, Ipv4Header, Ipv6Header, PacketBuilder};
    use proptest::prelude::*;

    const CLIENT: [u8; 4] = [192, 0, 2, 1];
    const VIP: [u8; 4] = [20, 0, 0, 1];
    const OTHER_VIP: [u8; 4] = [20, 0, 0, 2];
    const CLIENT_6: &str = "2001:db8:1::1";
    const VIP_6: &str = "2001:db8::10";

    fn policy() -> Policy {
        let vips = [OTHER_VIP.into(), VIP.into(), v6(VIP_6), v6("2001:db8::11")];
        let mut policy = Policy::new(&vips, &[], 6080);
        let mut own = [IpAddr::from([10, 0, 0, 2]), v6("2001:db8::2"), v6("fe80::2")];
        own.sort_unstable();
        policy.set_own(own.into());
        policy
    }

    fn v6(text: &str) -> IpAddr {
        IpAddr::V6(text.parse().unwrap())
    }

    fn segment() -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(CLIENT, VIP, 64).tcp(40000, 80, 1, 1000).write(&mut packet, b"hello").unwrap();
        packet
    }

    fn datagram(port: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(CLIENT, VIP, 64).udp(40000, port).write(&mut packet, b"hello").unwrap();
        packet
    }

    /// Changes a header, its checksum made right again.
    fn changed(packet: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
        let (mut header, payload) = Ipv4Header::from_slice(packet).unwrap();
        change(&mut header);
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes(), payload].concat()
    }

    fn with(packet: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    }

    fn options(options: &[u8]) -> Vec<u8> {
        let packet = segment();
        let (mut header, payload) = Ipv4Header::from_slice(&packet).unwrap();
        header.options = options.try_into().unwrap();
        header.total_len += options.len() as u16;
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes(), payload].concat()
    }

    #[test]
    fn what_is_let_through_and_what_is_not() {
        use DropReason as D;
        let segment = segment();
        let protocol = |number: u8| changed(&segment, |header| header.protocol = IpNumber(number));
        let source = |address| changed(&segment, |header| header.source = address);
        let later = |port: u16| changed(&datagram(port), |header| header.fragment_offset = 185.try_into().unwrap());
        let rows: Vec<(&str, Vec<u8>, Result<usize, D>)> = vec![
            ("a segment", segment.clone(), Ok(45)),
            ("a segment for the other VIP", changed(&segment, |header| header.destination = OTHER_VIP), Ok(45)),
            ("a segment and padding", [&segment[..], &[0; 7]].concat(), Ok(45)),
            ("options", options(&[1, 1, 1, 0]), Ok(49)),
            ("a datagram", datagram(53), Ok(33)),
            ("an ICMP message", protocol(1), Ok(45)),
            (
                "a datagram shorter than its header",
                changed(&datagram(6080)[..24], |header| header.total_len = 24),
                Ok(24),
            ),
            ("nothing", vec![], Err(D::InnerTruncated)),
            ("19 bytes", segment[..19].to_vec(), Err(D::InnerTruncated)),
            ("IPv6", with(&segment, 0, &[0x60]), Err(D::InnerVersion)),
            ("a header of 16 bytes", with(&segment, 0, &[0x44]), Err(D::InnerHeaderLength)),
            ("a header beyond the packet", with(&segment[..24], 0, &[0x4f]), Err(D::InnerHeaderLength)),
            ("a length beyond what came", segment[..44].to_vec(), Err(D::InnerLength)),
            ("a length within the header", changed(&segment, |header| header.total_len = 19), Err(D::InnerLength)),
            ("a length of 0", changed(&segment, |header| header.total_len = 0), Err(D::InnerLength)),
            ("a damaged header", with(&segment, 8, &[63]), Err(D::InnerChecksum)),
            ("a source route", options(&[131, 3, 4, 0]), Err(D::InnerSourceRoute)),
            ("another host's VIP", changed(&segment, |h| h.destination = [20, 0, 0, 3]), Err(D::ForeignVip)),
            ("from this host", source([10, 0, 0, 2]), Err(D::InnerSource)),
            ("from the VIP", source(VIP), Err(D::InnerSource)),
            ("from the other VIP", source(OTHER_VIP), Err(D::InnerSource)),
            ("from 127.0.0.1", source([127, 0, 0, 1]), Err(D::InnerSource)),
            ("from nowhere", source([0, 0, 0, 0]), Err(D::InnerSource)),
            ("from a multicast group", source([224, 0, 0, 1]), Err(D::InnerSource)),
            ("from everyone", source([255, 255, 255, 255]), Err(D::InnerSource)),
            ("IP in IP", protocol(4), Err(D::NestedTunnel)),
            ("IPv6 in IP", protocol(41), Err(D::NestedTunnel)),
            ("GRE", protocol(47), Err(D::NestedTunnel)),
            ("GUE", datagram(6080), Err(D::NestedTunnel)),
            ("a later fragment, which has no ports", later(6080), Ok(33)),
        ];
        for (what, mut packet, expected) in rows {
            let before = packet.clone();
            assert_eq!(policy().inspect(&mut packet, Version::V4, 0), expected, "{what}");
            assert_eq!(packet, before, "{what}: changed");
        }
    }

    fn segment_6() -> Vec<u8> {
        let mut packet = Vec::new();
        let [source, destination] = [CLIENT_6, VIP_6].map(|text| text.parse::<std::net::Ipv6Addr>().unwrap().octets());
        PacketBuilder::ipv6(source, destination, 64).tcp(40000, 80, 1, 1000).write(&mut packet, b"hello").unwrap();
        packet
    }

    /// Changes a header of IPv6.
    fn changed_6(packet: &[u8], change: impl FnOnce(&mut Ipv6Header)) -> Vec<u8> {
        let (mut header, payload) = Ipv6Header::from_slice(packet).unwrap();
        change(&mut header);
        [&header.to_bytes(), payload].concat()
    }

    /// An IPv6 packet of a payload that begins with extension headers.
    fn carrying(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let payload = [payload, &[0; 20]].concat();
        let header = changed_6(&segment_6()[..40], |header| {
            header.next_header = IpNumber(next_header);
            header.payload_length = payload.len() as u16;
        });
        [header, payload].concat()
    }

    #[test]
    fn the_same_in_ipv6() {
        use DropReason as D;
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const OPTIONS: u8 = 60;
        let segment = segment_6();
        let source = |text: &str| {
            let octets = text.parse::<std::net::Ipv6Addr>().unwrap().octets();
            changed_6(&segment, |header| header.source = octets)
        };
        let destination = |text: &str| {
            let octets = text.parse::<std::net::Ipv6Addr>().unwrap().octets();
            changed_6(&segment, |header| header.destination = octets)
        };
        let padding = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let fragment = |next: u8, offset: u8, more: u8| [next, 0, 0, offset << 3 | more, 1, 2, 3, 4];
        let gue = [0x9c, 0x40, 0x17, 0xc0, 0, 20, 0, 0];
        let rows: Vec<(&str, Vec<u8>, Result<usize, D>)> = vec![
            ("a segment", segment.clone(), Ok(65)),
            ("a segment for the other VIP", destination("2001:db8::11"), Ok(65)),
            ("a segment and padding", [&segment[..], &[0; 7]].concat(), Ok(65)),
            ("extension headers", carrying(HOP_BY_HOP, &[padding(OPTIONS), padding(6)].concat()), Ok(76)),
            ("a routing header at its end", carrying(ROUTING, &[6, 0, 4, 0, 0, 0, 0, 0]), Ok(68)),
            ("an echo request", carrying(58, &[128, 0, 0, 0]), Ok(64)),
            ("a first fragment", carrying(FRAGMENT, &fragment(6, 0, 1)), Ok(68)),
            ("a later fragment, which has no ports", carrying(FRAGMENT, &[fragment(17, 1, 0), gue].concat()), Ok(76)),
            ("an atomic fragment", carrying(FRAGMENT, &[fragment(OPTIONS, 0, 0), padding(6)].concat()), Ok(76)),
            ("no payload at all", changed_6(&segment[..40], |h| h.payload_length = 0), Ok(40)),
            ("nothing", vec![], Err(D::InnerTruncated)),
            ("39 bytes", segment[..39].to_vec(), Err(D::InnerTruncated)),
            ("IPv4 of 40 bytes", with(&segment, 0, &[0x45]), Err(D::InnerVersion)),
            ("a length beyond what came", segment[..64].to_vec(), Err(D::InnerLength)),
            ("options that are not all there", carrying(OPTIONS, &[6, 5]), Err(D::InnerExtension)),
            ("options in a wrong place", carrying(OPTIONS, &padding(HOP_BY_HOP)), Err(D::InnerExtension)),
            ("options of a fragment", carrying(FRAGMENT, &fragment(OPTIONS, 0, 1)), Err(D::InnerExtension)),
            ("a source route", carrying(ROUTING, &[6, 2, 0, 1, 0, 0, 0, 0]), Err(D::InnerSourceRoute)),
            ("another host's VIP", destination("2001:db8::12"), Err(D::ForeignVip)),
            ("this host's own address", destination("2001:db8::2"), Err(D::ForeignVip)),
            ("from this host", source("2001:db8::2"), Err(D::InnerSource)),
            ("from the VIP", source(VIP_6), Err(D::InnerSource)),
            ("from the other VIP", source("2001:db8::11"), Err(D::InnerSource)),
            ("from ::1", source("::1"), Err(D::InnerSource)),
            ("from nowhere", source("::"), Err(D::InnerSource)),
            ("from a group", source("ff02::1"), Err(D::InnerSource)),
            ("from a neighbour on some link", source("fe80::1"), Err(D::InnerSource)),
            ("from IPv4", source("::ffff:192.0.2.1"), Err(D::InnerSource)),
            ("IPv4 in IPv6", carrying(4, &[]), Err(D::NestedTunnel)),
            ("IPv6 in IPv6", carrying(41, &[]), Err(D::NestedTunnel)),
            ("IPv6 behind options", carrying(OPTIONS, &padding(41)), Err(D::NestedTunnel)),
            ("IPv6 in fragments", carrying(FRAGMENT, &fragment(41, 0, 1)), Err(D::NestedTunnel)),
            ("GRE", carrying(47, &[]), Err(D::NestedTunnel)),
            ("GUE", carrying(17, &gue), Err(D::NestedTunnel)),
            ("GUE in fragments", carrying(FRAGMENT, &[fragment(17, 0, 1), gue].concat()), Err(D::NestedTunnel)),
            ("a router's advertisement", carrying(58, &[134, 0, 0, 0]), Err(D::NeighborDiscovery)),
            (
                "a solicitation behind options",
                carrying(OPTIONS, &[padding(58), [135; 8]].concat()),
                Err(D::NeighborDiscovery),
            ),
        ];
        for (what, mut packet, expected) in rows {
            let before = packet.clone();
            assert_eq!(policy().inspect(&mut packet, Version::V6, 0), expected, "{what}");
            assert_eq!(packet, before, "{what}: changed");
        }
        assert_eq!(policy().inspect(&mut segment_6(), Version::V4, 0), Err(D::InnerVersion));
    }

    #[test]
    fn congestion_on_the_way_is_told_to_who_understands_it() {
        let capable = changed(&segment(), |header| header.ecn = 2.try_into().unwrap());
        let mut packet = capable.clone();
        assert_eq!(policy().inspect(&mut packet, Version::V4, 0b11), Ok(45));
        assert_eq!(packet, changed(&capable, |header| header.ecn = 3.try_into().unwrap()));

        assert_eq!(policy().inspect(&mut segment(), Version::V4, 0b11), Err(DropReason::Congestion));

        let mut packet = changed_6(&segment_6(), |header| header.traffic_class = 0xb9);
        assert_eq!(policy().inspect(&mut packet, Version::V6, 0b11), Ok(65));
        assert_eq!(packet, changed_6(&segment_6(), |header| header.traffic_class = 0xbb));
        assert_eq!(policy().inspect(&mut segment_6(), Version::V6, 0b11), Err(DropReason::Congestion));
    }

    #[test]
    fn tunnel_packets_come_from_whom_from_names_and_to_this_host_itself() {
        use DropReason as D;
        let vips = [VIP.into(), v6(VIP_6)];
        let from = ["10.0.0.0/24", "10.1.0.1/32", "2001:db8::/64"].map(|net| net.parse().unwrap());
        let [anyone, some] = [&[][..], &from[..]].map(|from| {
            let mut policy = Policy::new(&vips, from, 6080);
            policy.set_own([IpAddr::from([10, 0, 0, 2]), v6("2001:db8::2")].into());
            policy
        });
        let admit = |policy: &Policy, source: &str, destination: Option<&str>| {
            let [source, destination] = [Some(source), destination].map(|text| text.map(|text| text.parse().unwrap()));
            policy.admit(Outer { source: source.unwrap(), destination, traffic_class: 0 })
        };
        for own in [Some("10.0.0.2"), Some("2001:db8::2")] {
            assert_eq!(admit(&anyone, "192.0.2.7", own), Ok(()));
            assert_eq!(admit(&anyone, "2001:db8:1::1", own), Ok(()));
            assert_eq!(admit(&some, "10.0.0.9", own), Ok(()));
            assert_eq!(admit(&some, "10.1.0.1", own), Ok(()));
            assert_eq!(admit(&some, "10.1.0.2", own), Err(D::OuterSource));
            assert_eq!(admit(&some, "2001:db8::9", own), Ok(()));
            assert_eq!(admit(&some, "2001:db8:0:1::9", own), Err(D::OuterSource));
        }
        for source in [
            "10.0.0.2",
            "20.0.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "2001:db8::2",
            VIP_6,
            "::1",
            "::",
            "ff02::1",
            "fe80::9",
        ] {
            assert_eq!(admit(&anyone, source, Some("10.0.0.2")), Err(D::OuterSource), "{source}");
        }
        for destination in [None, Some("20.0.0.1"), Some(VIP_6)] {
            assert_eq!(admit(&anyone, "10.0.0.9", destination), Err(D::OuterDestination), "{destination:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_what_is_let_through_is_whole_and_for_a_vip(
            mut bytes in prop::collection::vec(any::<u8>(), 0..120),
            shape in prop::option::of((5_u8..8, any::<u8>())),
            traffic_class: u8,
        ) {
            // Half of them get past the first checks.
            if let (Some((words, total)), true) = (shape, bytes.len() >= 32) {
                bytes[0] = 0x40 | words;
                bytes[2..4].copy_from_slice(&[0, total]);
                bytes[16..20].copy_from_slice(&VIP);
                bytes[10..12].copy_from_slice(&[0, 0]);
                let checksum = crate::wire::checksum::of(&bytes[..usize::from(words) * 4]);
                bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            let before = bytes.clone();
            if let Ok(length) = policy().inspect(&mut bytes, Version::V4, traffic_class) {
                prop_assert!((20..=bytes.len()).contains(&length));
                let (header, _) = Ipv4Header::from_slice(&bytes).unwrap();
                prop_assert_eq!(header.destination, VIP);
                let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes[..header.header_len()]);
                prop_assert_eq!(sum.ones_complement(), 0);
                prop_assert_eq!(&bytes[12..], &before[12..], "only the traffic class and the checksum change");
            } else {
                prop_assert_eq!(bytes, before);
            }
        }

        #[test]
        fn and_so_it_is_in_ipv6(
            mut bytes in prop::collection::vec(any::<u8>(), 0..120),
            shape in prop::option::of((0_u8..60, prop::sample::select(vec![0_u8, 6, 17, 41, 43, 44, 58, 60]))),
            traffic_class: u8,
        ) {
            if let (Some((payload_len, next_header)), true) = (shape, bytes.len() >= 48) {
                bytes[0] = 0x60 | bytes[0] & 0x0f;
                bytes[4..7].copy_from_slice(&[0, payload_len, next_header]);
                bytes[24..40].copy_from_slice(&VIP_6.parse::<std::net::Ipv6Addr>().unwrap().octets());
                bytes[41] &= 1;
            }
            let before = bytes.clone();
            if let Ok(length) = policy().inspect(&mut bytes, Version::V6, traffic_class) {
                prop_assert!((40..=bytes.len()).contains(&length));
                let (header, _) = Ipv6Header::from_slice(&bytes).unwrap();
                prop_assert_eq!(IpAddr::V6(header.destination_addr()), v6(VIP_6));
                prop_assert_eq!(&bytes[2..], &before[2..], "only the traffic class changes");
            } else {
                prop_assert_eq!(bytes, before);
            }
        }
    }
}
