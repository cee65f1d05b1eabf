"""Says whether frames of leat-gen's are those that scapy builds itself: what is left open in each is filled in by scapy.

    judge.py packets FILE VIP CLIENTS PORT    packets to VIP, port PORT, from clients in CLIENTS: prints how many
    judge.py ask FILE MAC                     writes solicitations from MAC: for 2001:2::7, for 2001:db8::2, for a
                                              stranger, one that has passed a router, and a question whether an address is free
    judge.py neighbors FILE                   prints each message of neighbour discovery
"""

import ipaddress
import sys

from scapy.all import (IP, TCP, UDP, Ether, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6, rdpcap,
                       wrpcap)


def without_sums(frame):
    """The same, so that scapy has to reckon every length and checksum."""
    frame = frame.copy()
    for layer, fields in ((IP, ("len", "chksum", "ihl")), (IPv6, ("plen",)), (TCP, ("chksum", "dataofs")), (UDP, ("len", "chksum")),
                          (ICMPv6ND_NS, ("cksum",)), (ICMPv6ND_NA, ("cksum",))):
        if layer in frame:
            for field in fields:
                frame[layer].delfieldval(field)
    return frame


def whole(frame):
    """Insists that lengths and checksums are scapy's."""
    built = bytes(without_sums(frame))
    if built != bytes(frame):
        sys.exit(f"{bytes(frame).hex()}\nis not\n{built.hex()}")
    return frame


def packets(file, vip, clients, port):
    clients, addresses, seen = ipaddress.ip_network(clients), set(), 0
    for frame in rdpcap(file):
        packet, whole_frame = frame[IPv6 if ":" in vip else IP], whole(frame)
        transport = whole_frame[TCP if TCP in whole_frame else UDP]
        assert packet.dst == vip and transport.dport == int(port), frame.summary()
        assert ipaddress.ip_address(packet.src) in clients, frame.summary()
        assert UDP not in frame or transport.chksum != 0, frame.summary()
        addresses.add((packet.src, transport.sport))
        seen += 1
    print(seen, len(addresses))


def ask(file, mac):
    def solicitation(target, hops=255, source="2001:db8::99"):
        group = "ff02::1:ff" + ipaddress.ip_address(target).exploded[-7:]
        ethernet = Ether(src=mac, dst="33:33:ff:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(target).packed[-3:]))
        message = ethernet / IPv6(src=source, dst=group, hlim=hops) / ICMPv6ND_NS(tgt=target)
        return message if source == "::" else message / ICMPv6NDOptSrcLLAddr(lladdr=mac)

    wrpcap(file, [solicitation("2001:2::7"), solicitation("2001:db8::3"), solicitation("2001:2::8", hops=254),
                  solicitation("2001:db8::2"), solicitation("2001:db8::2", source="::")])


def neighbors(file):
    for frame in rdpcap(file):
        whole(frame)
        assert frame[IPv6].hlim == 255, frame.summary()
        ethernet, packet = f"{frame.src} > {frame.dst}", f"{frame[IPv6].src} > {frame[IPv6].dst}"
        if ICMPv6ND_NS in frame:
            print(f"{ethernet}, {packet}: who has {frame[ICMPv6ND_NS].tgt}? tell {frame[ICMPv6NDOptSrcLLAddr].lladdr}")
        else:
            told = frame[ICMPv6ND_NA]
            print(f"{ethernet}, {packet}: {told.tgt} is at {frame[ICMPv6NDOptDstLLAddr].lladdr}, R{told.R} S{told.S} O{told.O}")


{"packets": packets, "ask": ask, "neighbors": neighbors}[sys.argv[1]](*sys.argv[2:])
