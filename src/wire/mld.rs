//! Multicast listener discovery: in which groups leat listens, told to switches that pass on only what somebody listens to.
//!
//! A neighbour is asked for in a group (RFC 4861 §7.2.2), so who has an address must be a listener of its group, or is not
//! found. What is read are queries of either version (RFC 2710, RFC 3810); what is written are reports, a group in each.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     type      |       0       |           checksum            |   query, and report of version 1
//! +---------------+---------------+-------------------------------+
//! |  longest delay of an answer   |               0               |
//! +-------------------------------+-------------------------------+
//! |      group (16 bytes), unspecified in a query for all         |
//! +---------------------------------------------------------------+
//! |  further fields in a query of version 2                       |
//!
//! +---------------+---------------+-------------------------------+
//! |   type 143    |       0       |           checksum            |   report of version 2
//! +---------------+---------------+-------------------------------+
//! |               0               |      number of records: 1     |
//! +---------------+---------------+-------------------------------+
//! | kind of record| 0             |     number of sources: 0      |
//! +---------------+---------------+-------------------------------+
//! |                       group (16 bytes)                        |
//! +---------------------------------------------------------------+
//! ```

use std::net::Ipv6Addr;

use super::ethernet::{self, EtherType};
use super::{MacAddr, icmpv6, ipv6, ndp};

/// Types of the messages.
const QUERY: u8 = 130;
const REPORT_V1: u8 = 131;
const REPORT_V2: u8 = 143;

/// Bytes of a query of version 1, and of its report.
const V1_LEN: usize = 24;
/// The least bytes of a query of version 2, and those of a report with one record.
const V2_LEN: usize = 28;

/// Kinds of records: this is listened to, from whatever source; and the same from now on (RFC 3810 §5.2.12).
const IS_LISTENED_TO: u8 = 2;
const BECOMES_LISTENED_TO: u8 = 4;

/// Every message comes with this hop limit, and with a router alert among its hop-by-hop options (RFC 3810 §5, RFC 2711).
const HOP_LIMIT: u8 = 1;
const ROUTER_ALERT: u8 = 5;
/// The extension header with that option, and two bytes to fill it up.
const OPTIONS: [u8; 8] = [icmpv6::PROTOCOL, 0, ROUTER_ALERT, 2, 0, 0, 1, 0];

/// Whoever reads reports of version 2 (RFC 3810 §5.2.14).
const ALL_MLDV2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// Bytes of the longest frame with a report.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + OPTIONS.len() + V2_LEN;

/// Whether an ICMPv6 message of type `kind` is a query.
pub const fn is_query(kind: u8) -> bool {
    kind == QUERY
}

/// Who listens to what?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The group that is asked about; unspecified for all.
    pub group: Ipv6Addr,
    /// What its sender understands.
    pub version: Version,
}

/// The two versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 2710.
    V1,
    /// RFC 3810.
    V2,
}

/// Why a report is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// leat begins to listen.
    Joined,
    /// It was asked, by somebody of this version.
    Asked(Version),
}

impl Query {
    /// The query in `packet`, an IPv6 packet from its first byte on, of which ICMPv6 starts at `at`. None if it is malformed, has
    /// passed a router, or lacks the router alert (RFC 3810 §6.2).
    pub fn parse(packet: &[u8], at: usize) -> Option<Self> {
        let header = ipv6::Header::new(packet)?;
        let message = packet.get(at..ipv6::HEADER_LEN + usize::from(header.payload_len()))?;
        if header.hop_limit() != HOP_LIMIT || !header.source().is_unicast_link_local() || !has_router_alert(packet, at)
        {
            return None;
        }
        let version = match message.len() {
            V1_LEN => Version::V1,
            V2_LEN.. => Version::V2,
            _ => return None,
        };
        if message[0] != QUERY || icmpv6::checksum(header, message) != 0 {
            return None;
        }
        let group: [u8; 16] = *message[8..].first_chunk()?;
        Some(Self { group: group.into(), version })
    }

    /// Whether it asks about the group in which `address` is asked for.
    pub fn is_about(&self, address: Ipv6Addr) -> bool {
        self.group.is_unspecified() || self.group == ipv6::solicited_node(address)
    }
}

/// Whether a router alert is among the hop-by-hop options of `packet`, whose extension headers end before `end`.
fn has_router_alert(packet: &[u8], end: usize) -> bool {
    let Some((header, mut options)) = packet.get(..end).and_then(|head| head.split_at_checked(ipv6::HEADER_LEN)) else {
        return false;
    };
    // The options' header is the first, or none.
    if header[6] != 0 || options.len() < 2 {
        return false;
    }
    options = options.get(2..8 + 8 * usize::from(options[1])).unwrap_or_default();
    loop {
        options = match *options {
            [ROUTER_ALERT, 2, ..] => return true,
            // One byte of padding has no length.
            [0, ..] => &options[1..],
            [_, len, ..] => options.get(2 + usize::from(len)..).unwrap_or_default(),
            _ => return false,
        };
    }
}

/// Writes the report that a port with the Ethernet address `mac` listens to the group in which `address` is asked for. Returns the
/// frame's length.
pub fn write_report(address: Ipv6Addr, occasion: Occasion, mac: MacAddr, frame: &mut [u8; FRAME_LEN]) -> usize {
    let group = ipv6::solicited_node(address);
    let (destination, message_len) = match occasion {
        Occasion::Asked(Version::V1) => (group, V1_LEN),
        Occasion::Asked(Version::V2) | Occasion::Joined => (ALL_MLDV2_ROUTERS, V2_LEN),
    };
    frame.fill(0);
    let (head, rest) = frame.split_at_mut(ethernet::HEADER_LEN);
    if let Some(mut header) = ethernet::HeaderMut::new(head) {
        header.set_addresses(ndp::group(destination), mac);
        header.set_ether_type(EtherType::IPV6);
    }
    let (head, rest) = rest.split_at_mut(ipv6::HEADER_LEN);
    let fields = ipv6::Fields {
        traffic_class: 0,
        flow_label: 0,
        payload_len: (OPTIONS.len() + message_len) as u16,
        next_header: 0,
        hop_limit: HOP_LIMIT,
        source: ipv6::link_local(mac),
        destination,
    };
    if let Some(header) = head.first_chunk_mut() {
        fields.write(header);
    }
    let (options, message) = rest.split_at_mut(OPTIONS.len());
    options.copy_from_slice(&OPTIONS);
    let message = &mut message[..message_len];
    let (kind, group_at) = match occasion {
        Occasion::Asked(Version::V1) => (REPORT_V1, 8),
        Occasion::Asked(Version::V2) | Occasion::Joined => (REPORT_V2, 12),
    };
    message[0] = kind;
    if kind == REPORT_V2 {
        message[7] = 1;
        message[8] = if occasion == Occasion::Joined { BECOMES_LISTENED_TO } else { IS_LISTENED_TO };
    }
    message[group_at..group_at + 16].copy_from_slice(&group.octets());
    if let Some(header) = ipv6::Header::new(head) {
        let checksum = icmpv6::checksum(header, message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    ethernet::HEADER_LEN + ipv6::HEADER_LEN + OPTIONS.len() + message_len
}

#[cfg(test)]
/// For tests: the packet of a query with `len` bytes of ICMPv6 about `group`.
pub(crate) fn query(group: Ipv6Addr, len: usize, source: Ipv6Addr, hop_limit: u8, options: [u8; 8]) -> Vec<u8> {
    let mut message = vec![0; len];
    message[0] = QUERY;
    message[8..24].copy_from_slice(&group.octets());
    let mut head = [0; ipv6::HEADER_LEN];
    ipv6::Fields {
        traffic_class: 0,
        flow_label: 0,
        payload_len: (8 + len) as u16,
        next_header: 0,
        hop_limit,
        source,
        destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    }
    .write(&mut head);
    let checksum = ipv6::Header::new(&head).map_or(0, |header| icmpv6::checksum(header, &message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    [&head[..], &options, &message].concat()
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv6Slice, NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_report_is_a_right_message_for_who_is_to_read_it() {
        let vip = address("2001:db8::1:2345");
        let group = address("ff02::1:ff01:2345");
        for (occasion, destination, kind, len, record) in [
            (Occasion::Joined, "ff02::16", 143, 28, Some(4)),
            (Occasion::Asked(Version::V2), "ff02::16", 143, 28, Some(2)),
            (Occasion::Asked(Version::V1), "ff02::1:ff01:2345", 131, 24, None),
        ] {
            let mut frame = [0xff; FRAME_LEN];
            let frame_len = write_report(vip, occasion, MAC, &mut frame);
            let sliced = SlicedPacket::from_ethernet(&frame[..frame_len]).unwrap();
            let Some(NetSlice::Ipv6(ip)) = sliced.net else { panic!("{occasion:?}") };
            assert_eq!(ip.header().source_addr(), address("fe80::ff:fe00:1"));
            assert_eq!((ip.header().destination_addr(), ip.header().hop_limit()), (address(destination), 1));
            let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("{occasion:?}") };
            let (source, destination) = (ip.header().source(), ip.header().destination());
            assert!(Icmpv6Slice::is_checksum_valid(&icmp, source, destination), "{occasion:?}");
            assert_eq!((icmp.type_u8(), icmp.slice().len()), (kind, len));
            assert_eq!(icmp.slice()[len - 16..], group.octets());
            assert!(record.is_none_or(|record| icmp.slice()[8] == record));
            let octets = address(&ip.header().destination_addr().to_string()).octets();
            assert_eq!(frame[..6], [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]);
        }
    }

    #[test]
    fn queries_of_both_versions_are_read_and_wrong_ones_are_not() {
        let (router, all, alert) = (address("fe80::1"), Ipv6Addr::UNSPECIFIED, OPTIONS);
        let padded = [icmpv6::PROTOCOL, 0, 0, ROUTER_ALERT, 2, 0, 0, 0];
        let group = address("ff02::1:ff00:10");
        let of = |version, group| Some(Query { group, version });
        for (packet, expected) in [
            (query(all, 24, router, 1, alert), of(Version::V1, all)),
            (query(all, 28, router, 1, alert), of(Version::V2, all)),
            (query(group, 60, router, 1, padded), of(Version::V2, group)),
            (query(all, 26, router, 1, alert), None),
            (query(all, 28, router, 64, alert), None),
            (query(all, 28, address("2001:db8::1"), 1, alert), None),
            (query(all, 28, router, 1, [icmpv6::PROTOCOL, 0, 1, 4, 0, 0, 0, 0]), None),
        ] {
            assert_eq!(Query::parse(&packet, 48), expected, "{packet:?}");
        }
        let mut damaged = query(all, 28, router, 1, alert);
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(Query::parse(&damaged, 48), None);
        let about = |group| Query { group, version: Version::V2 }.is_about(address("2001:db8::10"));
        assert!(about(all) && about(group) && !about(address("ff02::1:ff00:11")));
    }

    proptest! {
        #[test]
        fn no_packet_makes_the_parser_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            len in 0usize..90,
            at in 0usize..90,
        ) {
            let mut packet = query(Ipv6Addr::UNSPECIFIED, 28, address("fe80::1"), 1, OPTIONS);
            for (index, value) in changes {
                let at = index.index(packet.len());
                packet[at] = value;
            }
            packet.truncate(len);
            let _ = Query::parse(&packet, at);
        }
    }
}
