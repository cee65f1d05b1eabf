"""Sends packets in tunnels of every kind to a backend, and writes what must come out of them.

    scapy_tunnels.py SEED COUNT INTERFACE EXPECTED     EXPECTED is a capture of bare IP packets; printed is for each kind of
                                                       tunnel how many packets were sent, and how many must come out
"""

import random
import sys

from scapy.all import (DLT_RAW, ICMP, IP, TCP, UDP, Ether, HBHOptUnknown, ICMPv6EchoRequest, IPOption_NOP, IPv6,
                       IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN, Raw, RawPcapWriter, RouterAlert,
                       fragment, fragment6, sendp)

BACKEND = {4: "10.0.0.2", 6: "2001:db8::2"}
LEAT = {4: "10.0.0.3", 6: "2001:db8::3"}
VIP = {4: "20.0.0.1", 6: "2001:db8::10"}
PROTOCOL = {4: 4, 6: 41}
GUE = 6080
# RFC 6040, figure 4: by the inner codepoint, what comes of the outer Not-ECT, ECT(1), ECT(0) and CE.
DECAPSULATED = {0: [0, 0, 0, None], 1: [1, 1, 1, 3], 2: [2, 1, 2, 3], 3: [3, 3, 3, 3]}


def extensions(rng):
    headers = rng.choice([[], [], ["hop"], ["options"], ["hop", "options"]])
    made = []
    if "hop" in headers:
        made.append(IPv6ExtHdrHopByHop(options=[RouterAlert()]))
    if "options" in headers:
        # The limit of RFC 2473 §4.1.1 on tunnels in tunnels, which a router on the way may add.
        limit = HBHOptUnknown(otype=4, optdata=bytes([rng.randrange(256)]))
        made.append(IPv6ExtHdrDestOpt(options=rng.choice([[limit], [PadN(optdata=b"\0" * rng.randrange(5))], []])))
    return made


def header(rng, version, source, destination, traffic_class, protocol):
    """An IP header with whatever may stand in it, and what is to come behind it."""
    if version == 4:
        options = rng.choice([[], [], [IPOption_NOP()] * 4])
        return IP(src=source, dst=destination, ttl=rng.randrange(1, 256), tos=traffic_class, id=rng.randrange(65536),
                  options=options, proto=protocol), []
    made = extensions(rng)
    return IPv6(src=source, dst=destination, hlim=rng.randrange(1, 256), tc=traffic_class, fl=rng.getrandbits(20)), made


def joined(ip, made, protocol, payload):
    """Puts a packet together; the last of its headers names the protocol."""
    packet = ip
    for extension in made:
        packet = packet / extension
    last = packet.lastlayer()
    if protocol is not None and isinstance(ip, IPv6):
        last.nh = protocol
    return packet / payload


def client(rng, version, number, traffic_class):
    """A packet of a client to the VIP. Its last byte is known, and no two are the same."""
    text = Raw(b"%d " % number + rng.randbytes(rng.choice([0, 1, 17, 200, 1100])) + b"!")
    source = {4: f"192.0.{number // 200}.{1 + number % 200}", 6: f"2001:db8:9::{number + 1:x}"}[version]
    kind = rng.choice(["tcp", "udp", "echo"])
    ports = {"sport": rng.randrange(1024, 65536), "dport": rng.randrange(1, 6080)}
    # A reset is answered by nobody.
    upper, protocol = {
        "tcp": (TCP(flags="R", seq=rng.getrandbits(32), **ports), 6),
        "udp": (UDP(**ports), 17),
        "echo": (ICMP(type=0) if version == 4 else ICMPv6EchoRequest(), 1 if version == 4 else 58),
    }[kind]
    ip, made = header(rng, version, source, VIP[version], traffic_class, protocol)
    return bytes(joined(ip, made, protocol, upper / text))


def with_ecn(packet, ecn):
    """The same packet with another codepoint, as scapy writes it."""
    if packet[0] >> 4 == 4:
        ip = IP(packet)
        ip.tos = ip.tos & ~3 | ecn
        del ip.chksum
        return bytes(ip)
    ip = IPv6(packet)
    ip.tc = ip.tc & ~3 | ecn
    return bytes(ip)


def wrapped(rng, kind, inner_version, packet, traffic_class):
    outer = 6 if kind in ("ipip-4in6", "ipip-6in6", "gue-ipv6") else 4
    if kind.startswith("ipip"):
        protocol, payload = PROTOCOL[inner_version], Raw(packet)
    else:
        private = rng.choice([0, 0, 0, 2])
        head = rng.choice([b"", bytes([private, PROTOCOL[inner_version], 0, 0]) + rng.randbytes(4 * private)])
        protocol, payload = 17, UDP(sport=rng.randrange(49152, 65536), dport=GUE) / Raw(head + packet)
        if rng.random() < 0.4:
            # None at all (RFC 768, RFC 6935).
            payload.chksum = 0
    ip, made = header(rng, outer, LEAT[outer], BACKEND[outer], traffic_class, protocol)
    return outer, joined(ip, made, protocol, payload)


def in_pieces(rng, outer, packet):
    """Sometimes as fragments, in any order."""
    if rng.random() < 0.8 or len(bytes(packet)) < 700:
        return [packet]
    if outer == 4:
        pieces = fragment(IP(bytes(packet)), fragsize=600)
    else:
        # What is to be cut stands behind the fragment header.
        whole = IPv6(bytes(packet))
        rest = whole.payload
        number = whole.nh
        whole.remove_payload()
        if number == 0:
            hop = rest.copy()
            rest, number = hop.payload, hop.nh
            hop.remove_payload()
            whole = whole / hop
        whole.lastlayer().nh = 44
        cut = whole / IPv6ExtHdrFragment(nh=number, id=rng.getrandbits(32)) / Raw(bytes(rest))
        del cut[IPv6].plen
        pieces = fragment6(cut, 700)
    rng.shuffle(pieces)
    return pieces


def main(seed, count, interface, file):
    rng = random.Random(seed)
    kinds = ["ipip-4in4", "ipip-6in4", "ipip-4in6", "ipip-6in6", "gue-ipv4", "gue-ipv6"]
    figures = {kind: [0, 0] for kind in kinds}
    frames, expected = [], []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        inner_version = int(kind[5]) if kind.startswith("ipip") else rng.choice([4, 6])
        inner_class, outer_class = rng.randrange(256), rng.randrange(256)
        packet = client(rng, inner_version, number, inner_class)
        figures[kind][0] += 1
        ecn = DECAPSULATED[inner_class & 3][outer_class & 3]
        if ecn is not None:
            figures[kind][1] += 1
            expected.append(with_ecn(packet, ecn))
        padding = rng.choice([b"", b"", b"\xaa" * 9])
        outer, tunnel = wrapped(rng, kind, inner_version, packet + padding, outer_class)
        head = Ether(src="02:00:00:00:00:03", dst="02:00:00:00:00:02")
        frames += [head / piece for piece in in_pieces(rng, outer, tunnel)]
    with RawPcapWriter(file, linktype=DLT_RAW) as writer:
        writer.write_header(None)
        for packet in expected:
            writer.write_packet(packet)
    sendp(frames, iface=interface, verbose=False)
    for kind, (sent, delivered) in figures.items():
        print(kind, sent, delivered)


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
