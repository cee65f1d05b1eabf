"""Makes packets of clients, and says of each packet that leat has sent whether it is the one that scapy builds itself.

    scapy_judge.py make SEED COUNT IN        writes a capture
    scapy_judge.py judge MODE IN OUT         compares what went in with what came out, and prints how many were right
"""

import random
import sys

from scapy.all import ICMP, IP, TCP, UDP, Ether, IPOption_NOP, IPOption_Router_Alert, Raw, rdpcap, wrpcap

LEAT, CLIENT, BACKEND = "02:00:00:00:00:fe", "02:00:00:00:00:01", "02:00:00:00:00:02"
VIP, B2, OWN = "10.0.0.10", "10.0.0.2", "10.0.0.254"
# Service ports at the VIP and, where ports change, at the backend.
PORTS = {TCP: (8080, 9090), UDP: (5300, 9953)}


def payload(rng):
    return Raw(rng.randbytes(rng.choice([0, 1, 5, 18, 100, 555, 1200])))


def network(rng, source):
    options = rng.choice([[], [], [], [IPOption_NOP()] * 4, [IPOption_Router_Alert()]])
    flags = rng.choice(["", "DF"])
    return IP(src=source, dst=VIP, ttl=rng.randrange(2, 256), tos=rng.randrange(256), id=rng.randrange(65536), flags=flags, options=options)


def tcp_options(rng):
    every = [("MSS", rng.randrange(536, 65536)), ("SAckOK", b""), ("Timestamp", (rng.getrandbits(32), 0)), ("WScale", rng.randrange(15)), ("NOP", None)]
    return [option for option in every if rng.random() < 0.6]


def make(seed, count, file):
    """Each client opens a TCP connection and talks, or sends datagrams."""
    rng, packets = random.Random(seed), []
    for number in range(count):
        source = f"10.0.{1 + number // 250}.{1 + number % 250}"
        port = rng.randrange(1024, 65536)
        head = lambda: Ether(src=CLIENT, dst=LEAT) / network(rng, source)
        if rng.random() < 0.5:
            for _ in range(rng.randrange(1, 4)):
                datagram = UDP(sport=port, dport=PORTS[UDP][0])
                if rng.random() < 0.2:
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




def expected(mode, came, went):
    """The packet that leat shall have made of `came`. What nobody can foretell, an identification or a port of the tunnel's, is
    taken from the one that `went`."""
    packet = Ether(bytes(came))
    packet.src, packet.dst = LEAT, BACKEND
    inner = packet[IP]
    if mode in ("fullnat", "nat"):
        inner.ttl -= 1
        inner.dst = B2
        kind = TCP if TCP in inner else UDP
        inner[kind].dport = PORTS[kind][1]
        if mode == "fullnat":
            inner.src = VIP
            inner[kind].sport = went[kind].sport
        # To be summed anew, but for a datagram that has none.
        del inner.chksum
        if not (kind is UDP and inner[UDP].chksum == 0):
            del inner[kind].chksum
    elif mode in ("ipip", "gue"):
        outer = IP(src=OWN, dst=B2, ttl=64, tos=inner.tos, id=went[IP].id, flags="DF" if inner.flags.DF else "")
        if mode == "gue":
            inside = UDP(sport=went[UDP].sport, dport=6080, chksum=0) / Raw(bytes([0, 4, 0, 0]) + bytes(inner))
            assert went[UDP].sport >= 0xC000
            packet = Ether(src=LEAT, dst=BACKEND) / outer / inside
        else:
            packet = Ether(src=LEAT, dst=BACKEND) / outer / inner
    return bytes(packet)


def judge(mode, came, went):
    came = [packet for packet in rdpcap(came)]
    went = [packet for packet in rdpcap(went) if IP in packet]
    assert len(came) == len(went), f"{len(came)} came and {len(went)} went"
    sources = {}
    for number, (before, after) in enumerate(zip(came, went)):
        wanted = expected(mode, before, after)
        if bytes(after) != wanted:
            print(f"{mode}: packet {number}:")
            for what, frame in (("came", bytes(before)), ("went", bytes(after)), ("scapy", wanted)):
                print(f"  {what:5} {frame.hex()}\n        {Ether(frame).summary()}")
            sys.exit(1)
        if mode == "fullnat":
            kind = TCP if TCP in after else UDP
            # A flow has one source, and no other flow has it.
            flow = (before[IP].src, before[kind].sport, kind)
            assert sources.setdefault((after[kind].sport, kind), flow) == flow
    print(len(went))


if sys.argv[1] == "make":
    make(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
else:
    judge(*sys.argv[2:])
