//! Every reason for which leat-agent drops a packet, by name.

crate::counters::drop_reasons! {
    DropReason, DropCounters:
    OuterSource = "outer_source": "a tunnel packet from a host that --from does not name",
    OuterDestination = "outer_destination": "a tunnel packet to a VIP, or to no address of this host (broadcast, multicast)",
    GueTruncated = "gue_truncated": "shorter than its GUE header",
    GueVersion = "gue_version": "a GUE version other than 0 and 1",
    GueControl = "gue_control": "a GUE control message",
    GueFlags = "gue_flags": "GUE flags, of which this version knows none",
    GueProtocol = "gue_protocol": "GUE around something else than IPv4",
    InnerTruncated = "inner_truncated": "an inner packet shorter than its IPv4 header",
    InnerVersion = "inner_version": "an inner packet that is not IPv4",
    InnerHeaderLength = "inner_header_length": "an inner header length below 20 or beyond what came",
    InnerLength = "inner_length": "an inner total length beyond what came or within the header",
    InnerChecksum = "inner_checksum": "a wrong inner header checksum",
    InnerSourceRoute = "inner_source_route": "inner options that are malformed or ask for a source route",
    ForeignVip = "foreign_vip": "an inner destination that is none of this host's VIPs",
    InnerSource = "inner_source": "an inner source that no client may have, or a VIP",
    NestedTunnel = "nested_tunnel": "a tunnel within the tunnel: IPv4, IPv6, GRE or GUE",
    Congestion = "congestion": "marked as congested on its way, and its sender does not know ECN (RFC 6040)",
    DeliveryFailed = "delivery_failed": "the kernel did not take it from the TUN device",
    ReceiveQueueFull = "receive_queue_full": "came faster than it was read; counted by the kernel",
}
