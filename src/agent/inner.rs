//! What a packet must be before it may leave its tunnel for this host's own stack.
//!
//! The balancer has looked at the packet, but whoever reaches the agent's sockets can send it anything: so each packet
//! is checked whole, and nothing gets in by the tunnel that could not have come to the VIP without it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::DropReason;
use super::ecn::{self, Ecn};
use crate::wire::{ipv4, udp};

/// IANA's numbers of protocols that carry packets: IPv4, IPv6, GRE.
const TUNNELS: [u8; 3] = [4, 41, 47];
const UDP: u8 = 17;

/// What is let through.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Sorted.
    vips: Box<[Ipv4Addr]>,
    from: Box<[Ipv4Net]>,
    gue_port: u16,
}

/// The outer header, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// Who sent the tunnel packet.
    pub source: Ipv4Addr,
    /// Where it was sent, if that is one of this host's own addresses.
    pub destination: Option<Ipv4Addr>,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl Policy {
    /// Lets packets to `vips` through, in tunnel packets from `from` (from anywhere when it is empty). UDP to
    /// `gue_port` counts as a tunnel.
    pub fn new(vips: &[Ipv4Addr], from: &[Ipv4Net], gue_port: u16) -> Self {
        let mut vips: Box<[_]> = vips.into();
        vips.sort_unstable();
        Self { vips, from: from.into(), gue_port }
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
        match outer.destination {
            Some(address) if !self.is_vip(address) => Ok(()),
            _ => Err(DropReason::OuterDestination),
        }
    }

    /// Judges what was in the tunnel, and takes the outer header's congestion mark over into it. Returns its length:
    /// what follows in `bytes` is padding.
    ///
    /// # Errors
    /// Why the packet is to be dropped.
    #[inline(always)]
    pub fn inspect(&self, bytes: &mut [u8], outer_traffic_class: u8) -> Result<usize, DropReason> {
        let header = ipv4::Header::new(bytes).ok_or(DropReason::InnerTruncated)?;
        if header.version() != 4 {
            return Err(DropReason::InnerVersion);
        }
        let (header_len, total_len) = (header.header_len(), usize::from(header.total_len()));
        if header_len < ipv4::HEADER_LEN || header_len > bytes.len() {
            return Err(DropReason::InnerHeaderLength);
        }
        if total_len < header_len || total_len > bytes.len() {
            return Err(DropReason::InnerLength);
        }
        if !ipv4::checksum_is_right(&bytes[..header_len]) {
            return Err(DropReason::InnerChecksum);
        }
        if ipv4::has_source_route(&bytes[..header_len]) {
            return Err(DropReason::InnerSourceRoute);
        }
        if !self.is_vip(header.destination()) {
            return Err(DropReason::ForeignVip);
        }
        if self.is_vip(header.source()) || !ipv4::is_station(header.source()) {
            return Err(DropReason::InnerSource);
        }
        if self.is_tunnel(header, &bytes[header_len..total_len]) {
            return Err(DropReason::NestedTunnel);
        }
        let inner = Ecn::of(bytes[1]);
        let ecn = ecn::decapsulated(inner, Ecn::of(outer_traffic_class)).ok_or(DropReason::Congestion)?;
        if let Some(header) = bytes.first_chunk_mut() {
            ecn::write(header, ecn);
        }
        Ok(total_len)
    }

    fn is_vip(&self, address: Ipv4Addr) -> bool {
        self.vips.binary_search(&address).is_ok()
    }

    fn is_tunnel(&self, header: ipv4::Header<'_>, payload: &[u8]) -> bool {
        match header.protocol() {
            // Only a first fragment has ports, and without it the others come to nothing.
            UDP if !header.is_later_fragment() => {
                udp::Header::new(payload).is_some_and(|udp| udp.destination_port() == self.gue_port)
            }
            protocol => TUNNELS.contains(&protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use etherparse::{IpNumber, Ipv4Header, PacketBuilder};
    use proptest::prelude::*;

    const CLIENT: [u8; 4] = [192, 0, 2, 1];
    const VIP: [u8; 4] = [20, 0, 0, 1];
    const OTHER_VIP: [u8; 4] = [20, 0, 0, 2];

    fn policy() -> Policy {
        Policy::new(&[OTHER_VIP.into(), VIP.into()], &[], 6080)
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
            assert_eq!(policy().inspect(&mut packet, 0), expected, "{what}");
            assert_eq!(packet, before, "{what}: changed");
        }
    }

    #[test]
    fn congestion_on_the_way_is_told_to_who_understands_it() {
        let capable = changed(&segment(), |header| header.ecn = 2.try_into().unwrap());
        let mut packet = capable.clone();
        assert_eq!(policy().inspect(&mut packet, 0b11), Ok(45));
        assert_eq!(packet, changed(&capable, |header| header.ecn = 3.try_into().unwrap()));

        assert_eq!(policy().inspect(&mut segment(), 0b11), Err(DropReason::Congestion));
    }

    #[test]
    fn tunnel_packets_come_from_whom_from_names_and_to_this_host_itself() {
        use DropReason as D;
        let anyone = Policy::new(&[VIP.into()], &[], 6080);
        let some = Policy::new(&[VIP.into()], &["10.0.0.0/24".parse().unwrap(), "10.1.0.1/32".parse().unwrap()], 6080);
        let outer = |source: [u8; 4], destination: Option<[u8; 4]>| Outer {
            source: source.into(),
            destination: destination.map(Into::into),
            traffic_class: 0,
        };
        let own = Some([10, 0, 0, 2]);
        assert_eq!(anyone.admit(outer([192, 0, 2, 7], own)), Ok(()));
        assert_eq!(some.admit(outer([10, 0, 0, 9], own)), Ok(()));
        assert_eq!(some.admit(outer([10, 1, 0, 1], own)), Ok(()));
        assert_eq!(some.admit(outer([10, 1, 0, 2], own)), Err(D::OuterSource));
        assert_eq!(anyone.admit(outer([10, 0, 0, 9], Some(VIP))), Err(D::OuterDestination));
        assert_eq!(anyone.admit(outer([10, 0, 0, 9], None)), Err(D::OuterDestination));
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
            if let Ok(length) = policy().inspect(&mut bytes, traffic_class) {
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
    }
}
