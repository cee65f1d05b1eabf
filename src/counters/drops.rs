//! Every reason for which a packet is dropped, by name.

/// Makes the reasons for which a program drops packets, and their counters.
macro_rules! drop_reasons {
    ($reasons:ident, $counters:ident: $($variant:ident = $name:literal: $description:literal,)*) => {
        /// Why a packet was dropped. A new reason needs a line here, which metrics and tables are made from, and one
        /// in the documentation, which a test asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $reasons {
            $(#[doc = $description] $variant,)*
        }

        impl $reasons {
            /// All reasons, in the order in which a packet can meet them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in metrics and tables.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it means, as a phrase.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description),* }
            }
        }

        /// A counter for every reason.
        #[derive(Debug)]
        pub struct $counters([$crate::counters::Counter; $reasons::ALL.len()]);

        impl Default for $counters {
            fn default() -> Self {
                Self(std::array::from_fn(|_| $crate::counters::Counter::default()))
            }
        }

        impl $counters {
            /// Counts `packets` dropped packets.
            #[inline(always)]
            pub fn add(&self, reason: $reasons, packets: u64) {
                self.0[reason as usize].add(packets);
            }

            /// Packets dropped so far for `reason`.
            pub fn value(&self, reason: $reasons) -> u64 {
                self.0[reason as usize].value()
            }
        }
    };
}

pub(crate) use drop_reasons;

drop_reasons! {
    DropReason, DropCounters:
    FrameTruncated = "frame_truncated": "shorter than an Ethernet header",
    HeadersSplit = "headers_split": "headers that the port delivered in more than one piece",
    NotForUs = "not_for_us": "addressed to another station's Ethernet address",
    Broadcast = "broadcast": "an IP packet to an Ethernet broadcast or multicast address",
    EthernetSource = "ethernet_source": "a source Ethernet address that no station may have",
    Vlan = "vlan": "a VLAN tag that no interface has",
    EtherType = "ether_type": "an EtherType that leat does not know",
    ArpMalformed = "arp_malformed": "an ARP message that is short or not for IPv4 over Ethernet",
    ArpConflict = "arp_conflict": "another station claims one of leat's addresses by ARP",
    ArpNotForUs = "arp_not_for_us": "an ARP request for an address that is not leat's",
    ArpPastLeat = "arp_past_leat": "another station answers a nat backend by ARP: its packets go past leat, which nat cannot bear",
    ArpConsumed = "arp_consumed": "an ARP message that was read and needs no answer",
    NdpMalformed = "ndp_malformed": "a message of neighbour discovery that a router has passed on, or that is malformed",
    NdpConflict = "ndp_conflict": "another station claims one of leat's addresses by neighbour discovery",
    NdpNotForUs = "ndp_not_for_us": "a neighbour solicitation for an address that is not leat's",
    NdpPastLeat = "ndp_past_leat": "another station answers a nat backend by neighbour discovery: its packets go past leat, which nat cannot bear",
    NdpConsumed = "ndp_consumed": "a message of neighbour discovery that was read, or is ignored, and needs no answer",
    Ipv4Truncated = "ipv4_truncated": "shorter than its IPv4 header",
    Ipv4Version = "ipv4_version": "an IPv4 EtherType around another version",
    Ipv4HeaderLength = "ipv4_header_length": "an IPv4 header length below 20 or beyond the packet",
    Ipv4TotalLength = "ipv4_total_length": "an IPv4 total length beyond the frame or within the header",
    Ipv4Checksum = "ipv4_checksum": "a wrong IPv4 header checksum",
    Ipv4SourceRoute = "ipv4_source_route": "IPv4 options that are malformed or ask for a source route",
    Ipv6Truncated = "ipv6_truncated": "shorter than its IPv6 header",
    Ipv6Version = "ipv6_version": "an IPv6 EtherType around another version",
    Ipv6Length = "ipv6_length": "an IPv6 payload length beyond the frame",
    Ipv6Extension = "ipv6_extension": "IPv6 extension headers that are malformed, more than leat looks at, or ask for a route",
    FragmentCrossing = "fragment_crossing": "a fragment of ICMP, or of UDP without a checksum, on its way from one version of IP to the other",
    FragmentDuplicate = "fragment_duplicate": "a fragment that was here before",
    FragmentMalformed = "fragment_malformed": "a fragment that no host makes, or of a packet whose fragments overlap or contradict each other",
    FragmentIncomplete = "fragment_incomplete": "a fragment whose packet did not become whole in time, or before room was needed",
    FragmentOrphan = "fragment_orphan": "a fragment whose packet's first one was dropped",
    Ipv4Source = "ipv4_source": "a source address that no station may have, or one of leat's own",
    Ipv6Source = "ipv6_source": "an IPv6 source address that no station may have beyond its link, or one of leat's own",
    ClientDenied = "client_denied": "a source address that the configuration denies",
    Ipv4Ttl = "ipv4_ttl": "a time to live that ends here",
    Ipv6HopLimit = "ipv6_hop_limit": "an IPv6 hop limit that ends here",
    Tunnel = "tunnel": "a tunnel packet for leat itself, which only sends them",
    Protocol = "protocol": "neither TCP, UDP nor ICMP",
    TcpTruncated = "tcp_truncated": "shorter than its TCP header",
    TcpHeaderLength = "tcp_header_length": "a TCP header length below 20 or beyond the packet",
    TcpFlags = "tcp_flags": "a combination of TCP flags that no TCP sends",
    UdpTruncated = "udp_truncated": "shorter than a UDP header",
    UdpLength = "udp_length": "a UDP length below 8 or beyond the packet",
    UdpChecksum = "udp_checksum": "a UDP datagram of IPv6 without a checksum, on its way to IPv4",
    IcmpTruncated = "icmp_truncated": "shorter than an ICMP header",
    IcmpChecksum = "icmp_checksum": "an echo request to leat itself, or an ICMP error, with a wrong ICMP checksum",
    IcmpError = "icmp_error": "an ICMP error about nothing that leat has passed on",
    IcmpConsumed = "icmp_consumed": "an ICMP error about a tunnel, whose MTU it has set",
    TunnelRefused = "tunnel_refused": "an ICMP error that says a backend does not unpack its tunnel",
    IcmpType = "icmp_type": "an ICMP message that is neither an echo nor an error",
    ProbeConsumed = "probe_consumed": "the answer to a health check, which was read",
    ProbeUnsent = "probe_unsent": "a health check to a backend whose Ethernet address is not known",
    PortZero = "port_zero": "a TCP or UDP port of 0",
    NotOurAddress = "not_our_address": "a destination address that is not leat's",
    NoService = "no_service": "an address of leat's, but no service on that protocol and port",
    VipWithdrawn = "vip_withdrawn": "a ping to a VIP that is withdrawn",
    NoBackend = "no_backend": "a service with no backend that takes new connections",
    BackendsFull = "backends_full": "a new connection while all backends have as many as they may",
    ServiceFull = "service_full": "a new connection while its service has as many as it may",
    ServiceRate = "service_rate": "a new connection to a service that has opened as many within this second as it may",
    ClientFull = "client_full": "a new connection of a client that has as many as it may",
    ClientRate = "client_rate": "a new connection of a client that has opened as many within this second as it may",
    NoConnection = "no_connection": "a client's TCP segment without SYN that belongs to no connection",
    HandshakeConsumed = "handshake_consumed": "a segment of a handshake that leat makes in place of a client or backend, which was read",
    NotRouted = "not_routed": "a backend's own traffic, which leat does not route",
    BackendAsClient = "backend_as_client": "a backend that asks its own service in nat, where it could not be told from a client",
    StrayReply = "stray_reply": "a backend's packet that belongs to no connection",
    TableFull = "table_full": "a new connection while the connection table is full",
    PortsExhausted = "ports_exhausted": "a new connection while no source port towards its backend is free",
    TupleInUse = "tuple_in_use": "a new connection of a client port that is connected to the same backend already",
    NeighborUnresolved = "neighbor_unresolved": "the next hop did not answer ARP or neighbour discovery in time",
    NeighborQueueFull = "neighbor_queue_full": "more packets than may wait for one next hop to answer ARP or neighbour discovery",
    HandOverFull = "hand_over_full": "the ring to the lcore that owns the connection is full",
    TransmitFull = "transmit_full": "the port took no more packets",
    NoTunnelSource = "no_tunnel_source": "for a tunnel, and all own addresses that it could come from are another station's",
    TooBigForTunnel = "too_big_for_tunnel": "longer than the tunnel to the backend allows, and not to be fragmented",
    TooLong = "too_long": "longer than the outgoing port's MTU allows",
    NoBuffer = "no_buffer": "no memory for what was to be sent",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_the_documentation_finds_every_reason_and_no_other() {
        let page = include_str!("../../docs/DROPS.md");
        let documented: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        for (reason, row) in DropReason::ALL.iter().zip(&documented) {
            let expected = format!("| `{}` | {} | ", reason.name(), reason.description());
            assert!(row.starts_with(&expected), "docs/DROPS.md has\n  {row}\nwhere this was expected\n  {expected}");
        }
        assert_eq!(documented.len(), DropReason::ALL.len());
    }

    #[test]
    fn names_are_unique_and_fit_for_metrics() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(
            names.iter().all(|name| name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
