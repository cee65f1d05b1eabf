"""Makes packets of clients, and says of each packet that leat has sent whether it is the one that scapy builds itself.

    scapy_judge.py make SEED COUNT IN VERSION        writes a capture of clients that speak IPv4 or IPv6
    scapy_judge.py judge MODE IN OUT BACKEND         compares what went in with what came out, for a backend that speaks IPv4 or
                                                     IPv6, and prints how many were right
"""

import random
import sys

from scapy.all import (IP, TCP, UDP, Ether, IPOption_NOP, IPOption_Router_Alert, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop,
                       PadN, Raw, RouterAlert, rdpcap, wrpcap)

LEAT, CLIENT, BACKEND = "02:00:00:00:00:fe", "02:00:00:00:00:01", "02:00:00:00:00:02"
# By version: the VIP, the backend, leat's own address, and its local address where the VIP is of the other version.
VIP = {4: "10.0.0.10", 6: "2001:db8::10"}
B2 = {4: "10.0.0.2", 6: "2001:db8::2"}
OWN = {4: "10.0.0.254", 6: "2001:db8::fe"}
LOCAL = {4: "10.0.0.11", 6: "2001:db8::11"}
# Service ports at the VIP and, where ports change, at the backend.
PORTS = {TCP: (8080, 9090), UDP: (5300, 9953)}
# What is longer must not be cut when it comes from IPv6 (RFC 7915).
MOST_CUTTABLE = 1260


def payload(rng):
    return Raw(rng.randbytes(rng.choice([0, 1, 5, 18, 100, 555, 1200])))


def network(rng, version, number):
    if version == 6:
        source = f"2001:db8:1::{number + 1:x}"
        header = IPv6(src=source, dst=VIP[6], hlim=rng.randrange(2, 256), tc=rng.randrange(256), fl=rng.getrandbits(20))
        extensions = rng.choice([0, 0, 0, 1, 2, 3])
        if extensions & 1:
            header /= IPv6ExtHdrHopByHop(options=[RouterAlert()])
        if extensions & 2:
            header /= IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * rng.randrange(12))])
        return header
    source = f"10.0.{1 + number // 250}.{1 + number % 250}"
    options = rng.choice([[], [], [], [IPOption_NOP()] * 4, [IPOption_Router_Alert()]])
    flags = rng.choice(["", "DF"])
    return IP(src=source, dst=VIP[4], ttl=rng.randrange(2, 256), tos=rng.randrange(256), id=rng.randrange(65536), flags=flags, options=options)


def tcp_options(rng):
    every = [("MSS", rng.randrange(536, 65536)), ("SAckOK", b""), ("Timestamp", (rng.getrandbits(32), 0)), ("WScale", rng.randrange(15)), ("NOP", None)]
    return [option for option in every if rng.random() < 0.6]


def make(seed, count, file, version):
    """Each client opens a TCP connection and talks, or sends datagrams."""
    rng, packets = random.Random(seed), []
    for client in range(count):
        port = rng.randrange(1024, 65536)
        head = lambda: Ether(src=CLIENT, dst=LEAT) / network(rng, version, client)
        if rng.random() < 0.5:
            for _ in range(rng.randrange(1, 4)):
                datagram = UDP(sport=port, dport=PORTS[UDP][0])
                if version == 4 and rng.random() < 0.2:
                    # None at all (RFC 768): it stays so.
                    datagram.chksum = 0
                packets.append(head() / datagram / payload(rng))
            continue
        number = rng.getrandbits(32)
        segment = lambda flags, seq, **more: head() / TCP(sport=port, dport=PORTS[TCP][0], flags=flags, seq=seq % 2**32, window=rng.randrange(65536), **more)
        packets.append(segment("S", number, options=tcp_options(rng)))
        packets.append(segment(rng.choice(["A", "PA", "AE", "AU"]), number + 1, ack=rng.getrandbits(32), urgptr=rng.randrange(65536)) / payload(rng))
        packets.append(segment("FA", number + 1, ack=rng.getrandbits(32)))
    # What stands in a file is what is sent: scapy fills in what is missing.
    wrpcap(file, [Ether(bytes(packet)) for packet in packets])


def version_of(packet):
    return 6 if IPv6 in packet else 4


def kind_of(packet):
    return TCP if TCP in packet else UDP


def crossed(inner, transport, backend, went):
    """The packet with this transport's message in the version of the backend (RFC 7915)."""
    if backend == 4:
        length = 20 + len(transport)
        cuttable = length <= MOST_CUTTABLE
        header = IP(ttl=inner.hlim - 1, tos=inner.tc, id=went[IP].id if cuttable else 0, flags="" if cuttable else "DF")
    else:
        header = IPv6(hlim=inner.ttl - 1, tc=inner.tos, fl=0)
    # By the bytes, so that nothing is left of what stood before.
    return header / type(transport)(bytes(transport))


def translated(mode, inner, backend, went):
    kind = kind_of(inner)
    version = version_of(inner)
    if version == backend:
        if version == 4:
            inner.ttl -= 1
            del inner.chksum
        else:
            inner.hlim -= 1
    else:
        inner = crossed(inner, inner[kind], backend, went)
    if mode == "fullnat":
        inner.src = VIP[backend] if version == backend else LOCAL[backend]
        inner[kind].sport = went[kind].sport
    inner.dst = B2[backend]
    inner[kind].dport = PORTS[kind][1]
    # To be summed anew, but for a datagram that has no sum and stays in IPv4.
    if not (kind is UDP and inner[UDP].chksum == 0 and backend == 4):
        del inner[kind].chksum
    return inner


def tunnelled(mode, inner, backend, went):
    version = version_of(inner)
    number = 4 if version == 4 else 41
    tos = inner.tos if version == 4 else inner.tc
    if backend == 4:
        free = version == 4 and not inner.flags.DF
        outer = IP(src=OWN[4], dst=B2[4], ttl=64, tos=tos, id=went[IP].id, flags="" if free else "DF", proto=number if mode == "ipip" else 17)
    else:
        outer = IPv6(src=OWN[6], dst=B2[6], hlim=64, tc=tos, fl=went[IPv6].fl, nh=number if mode == "ipip" else 17)
    if mode == "ipip":
        return outer / Raw(bytes(inner))
    assert went[UDP].sport >= 0xC000
    # Over IPv6 it has a sum.
    sums = {"chksum": 0} if backend == 4 else {}
    return outer / UDP(sport=went[UDP].sport, dport=6080, **sums) / Raw(bytes([0, number, 0, 0]) + bytes(inner))


def expected(mode, came, went, backend):
    """The packet that leat shall have made of `came`. What nobody can foretell, an identification, a flow label or a port of the
    tunnel's, is taken from the one that `went`."""
    inner = Ether(bytes(came)).payload
    if mode in ("fullnat", "nat"):
        inner = translated(mode, inner, backend, went)
    elif mode in ("ipip", "gue"):
        inner = tunnelled(mode, inner, backend, went)
    return bytes(Ether(src=LEAT, dst=BACKEND) / inner)


def judge(mode, came, went, backend):
    came = [packet for packet in rdpcap(came)]
    # What leat itself says to its neighbours goes to groups.
    went = [packet for packet in rdpcap(went) if packet.dst == BACKEND and (IP in packet or IPv6 in packet)]
    assert len(came) == len(went), f"{len(came)} came and {len(went)} went"
    sources = {}
    for number, (before, after) in enumerate(zip(came, went)):
        wanted = expected(mode, before, after, backend)
        if bytes(after) != wanted:
            print(f"{mode}: packet {number}:")
            for what, frame in (("came", bytes(before)), ("went", bytes(after)), ("scapy", wanted)):
                print(f"  {what:5} {frame.hex()}\n        {Ether(frame).summary()}")
            sys.exit(1)
        if mode == "fullnat":
            kind = kind_of(after)
            # A flow has one source, and no other flow has it.
            flow = (before.payload.src, before[kind].sport, kind)
            assert sources.setdefault((after[kind].sport, kind), flow) == flow
    print(len(went))


if sys.argv[1] == "make":
    make(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
else:
    judge(*sys.argv[2:5], int(sys.argv[5]))
