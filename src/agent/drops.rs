//! Every reason for which leat-agent drops a packet, by name.

crate::counters::drop_reasons! {
    DropReason, DropCounters:
    OuterSource = "outer_source": "a tunnel packet from a host that --from does not name, or from an address that no other host may have",
    OuterDestination = "outer_destination": "a tunnel packet to a VIP, or to no address of this host (broadcast, multicast)",
    GueTruncated = "gue_truncated": "shorter than its GUE header",
    GueVersion = "gue_version": "a GUE version other than 0 and 1",
    GueControl = "gue_control": "a GUE control message",
    GueFlags = "gue_flags": "GUE flags, of which this version knows none",
    GueProtocol = "gue_protocol": "GUE around something else than IPv4 and IPv6",
    InnerTruncated = "inner_truncated": "an inner packet shorter than its IP header",
    InnerVersion = "inner_version": "an inner packet that is not of the IP version that its tunnel names",
    InnerHeaderLength = "inner_header_length": "an inner header length below 20 or beyond what came",
    InnerLength = "inner_length": "an inner length beyond what came or within the header",
    InnerChecksum = "inner_checksum": "a wrong inner header checksum",
    InnerSourceRoute = "inner_source_route": "inner options that are malformed or ask for a source route; an IPv6 routing header that is not done with",
    InnerExtension = "inner_extension": "inner IPv6 extension headers that are malformed, too many, or hidden in fragments",
    ForeignVip = "foreign_vip": "an inner destination that is none of this host's VIPs",
    InnerSource = "inner_source": "an inner source that no client may have: an address of this host, a VIP, loopback, a group",
    NestedTunnel = "nested_tunnel": "a tunnel within the tunnel: IPv4, IPv6, GRE or GUE",
    NeighborDiscovery = "neighbor_discovery": "an inner message of IPv6 neighbour discovery, which no router passes on",
    Congestion = "congestion": "marked as congested on its way, and its sender does not know ECN (RFC 6040)",
    DeliveryFailed = "delivery_failed": "the kernel did not take it from the TUN device",
    OuterChecksum = "outer_checksum": "a wrong UDP checksum; counted by the kernel, for every UDP port of this IP version",
    ReceiveQueueFull = "receive_queue_full": "came faster than it was read; counted by the kernel",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_reason() {
        let page = include_str!("../../docs/AGENT.md");
        for reason in DropReason::ALL {
            assert!(page.contains(&format!("`{}`", reason.name())), "{}", reason.name());
        }
    }
}
