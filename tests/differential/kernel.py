"""The same conversations through leat and through the kernel's NAT, side by side: what arrives must be the same.

    kernel.py CLIENT BACKEND LEAT KERNEL SEED     the namespaces of both hosts, and the Ethernet addresses of both balancers

leat has the VIP 10.0.0.10, the kernel 10.0.0.11, and both translate to the backend 10.0.0.2, as themselves. Every packet is sent by
this program from a raw socket, once to each, and what arrives on the other side is compared byte by byte, but for the addresses of
the two, for source ports, and for checksums, which scapy finds right.
"""

import ctypes
import os
import random
import socket
import sys
import time

from scapy.all import IP, TCP, UDP, Ether, Raw

CLIENT, BACKEND = "10.0.0.1", "10.0.0.2"
VIPS = {"leat": "10.0.0.10", "kernel": "10.0.0.11"}
PORTS = {TCP: (8080, 9090), UDP: (5300, 9953)}


def raw_socket(namespace):
    """A raw socket on eth0 of a namespace; it stays there when this process has left it."""
    libc, here = ctypes.CDLL(None, use_errno=True), os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    assert libc.setns(there, 0) == 0
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    raw.bind(("eth0", 0x0800))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    assert libc.setns(here, 0) == 0
    return raw


class Side:
    def __init__(self, namespace):
        self.raw = raw_socket(namespace)
        self.mac = ":".join(f"{byte:02x}" for byte in self.raw.getsockname()[4])

    def send(self, mac, packet):
        self.raw.send(bytes(Ether(src=self.mac, dst=mac) / packet))

    def receive(self, wanted):
        """The next packet that `wanted` takes, of those that come within a second."""
        self.raw.settimeout(1)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                data, address = self.raw.recvfrom(65536)
            except TimeoutError:
                return None
            # What this host has sent is heard, too.
            if address[2] == socket.PACKET_OUTGOING:
                continue
            packet = Ether(data)
            if IP in packet and wanted(packet[IP]):
                return packet[IP]
        return None


def checked(packet, kind):
    """Insists that the checksums are what scapy makes them, and returns the packet without Ethernet's padding."""
    packet = IP(bytes(packet)[: packet.len])
    again = packet.copy()
    del again.chksum
    if not (kind is UDP and packet[UDP].chksum == 0):
        del again[kind].chksum
    assert bytes(again) == bytes(packet), f"wrong checksum in {packet!r}"
    return packet


def comparable(packet, kind, own, port):
    """The packet with what may differ made the same."""
    packet = packet.copy()
    for field in ("src", "dst"):
        if getattr(packet, field) == own:
            setattr(packet, field, "10.0.0.99")
    for field in ("sport", "dport"):
        if getattr(packet[kind], field) == port:
            setattr(packet[kind], field, 1)
    packet.chksum = packet[kind].chksum = packet[kind].chksum and 1
    return bytes(packet)


class Conversation:
    """One flow of the client's with both balancers."""

    def __init__(self, client, backend, macs, kind, port):
        self.client, self.backend, self.macs, self.kind, self.port = client, backend, macs, kind, port
        # By balancer, by which port the backend knows the client.
        self.known_as = {}

    def forth(self, make):
        """From the client: `make` gives the packet to a VIP."""
        arrived = {}
        for who, vip in VIPS.items():
            self.client.send(self.macs[who], make(vip))
            got = self.backend.receive(lambda ip: ip.src == vip and self.kind in ip and ip[self.kind].dport == PORTS[self.kind][1])
            if got is not None:
                self.known_as.setdefault(who, got[self.kind].sport)
                assert got[self.kind].sport == self.known_as[who]
                got = comparable(checked(got, self.kind), self.kind, vip, self.known_as[who])
            arrived[who] = got
        return self.compare(arrived)

    def back(self, make):
        """From the backend: `make` gives the packet to an address and port."""
        arrived = {}
        for who, vip in VIPS.items():
            self.backend.send(self.macs[who], make(vip, self.known_as[who]))
            got = self.client.receive(lambda ip: ip.src == vip and self.kind in ip and ip[self.kind].dport == self.port)
            arrived[who] = got and comparable(checked(got, self.kind), self.kind, vip, self.known_as[who])
        return self.compare(arrived)

    def compare(self, arrived):
        if arrived["leat"] != arrived["kernel"]:
            for who, packet in arrived.items():
                print(f"{who:6} {packet.hex() if packet else None}\n       {IP(packet).summary() if packet else None}")
            sys.exit(1)
        return 1 if arrived["leat"] else 0


def network(rng, source, destination):
    return IP(src=source, dst=destination, ttl=rng.randrange(2, 256), tos=rng.randrange(256) & 0xFC, id=rng.randrange(65536), flags=rng.choice(["", "DF"]))


def data(rng):
    return Raw(rng.randbytes(rng.choice([0, 1, 18, 100, 555, 1400])))


def tcp(rng, talk):
    """A connection with options, data and acknowledgements both ways, and an end of one kind or another."""
    seq, other, stamp = rng.getrandbits(32), rng.getrandbits(32), rng.getrandbits(32)
    options = lambda first: [("Timestamp", (stamp, 0 if first else stamp))] + ([("MSS", 1400), ("WScale", 7), ("SAckOK", b"")] if first else [])

    def forth(flags, seq, ack, payload=b"", first=False):
        tos = random.Random(rng.random())
        return talk.forth(lambda vip: network(random.Random(str(tos)), CLIENT, vip) / TCP(
            sport=talk.port, dport=8080, flags=flags, seq=seq % 2**32, ack=ack % 2**32, window=8000, options=options(first)) / payload)

    def back(flags, seq, ack, payload=b"", first=False):
        return talk.back(lambda local, port: network(random.Random(seq), BACKEND, local) / TCP(
            sport=9090, dport=port, flags=flags, seq=seq % 2**32, ack=ack % 2**32, window=8000, options=options(first)) / payload)

    count = forth("S", seq, 0, first=True)
    if rng.random() < 0.3:
        count += forth("S", seq, 0, first=True)
    if rng.random() < 0.2:
        return count + back("RA", 0, seq + 1)
    count += back("SA", other, seq + 1, first=True)
    count += forth("A", seq + 1, other + 1)
    seq, other = seq + 1, other + 1
    for _ in range(rng.randrange(4)):
        payload = data(rng)
        if rng.random() < 0.5:
            count += forth("PA", seq, other, payload)
            seq += len(payload)
        else:
            count += back("PA", other, seq, payload)
            other += len(payload)
    if rng.random() < 0.3:
        return count + forth("RA", seq, other)
    count += back("FA", other, seq)
    count += forth("FA", seq, other + 1)
    return count + back("A", other + 1, seq + 1)


def udp(rng, talk):
    count = 0
    for _ in range(rng.randrange(1, 4)):
        payload, none, seed = data(rng), rng.random() < 0.2, rng.random()
        head = lambda ports: UDP(sport=ports[0], dport=ports[1], **({"chksum": 0} if none else {}))
        count += talk.forth(lambda vip: network(random.Random(seed), CLIENT, vip) / head((talk.port, 5300)) / payload)
        count += talk.back(lambda local, port: network(random.Random(seed), BACKEND, local) / head((9953, port)) / payload)
    return count


def main():
    client, backend = Side(sys.argv[1]), Side(sys.argv[2])
    macs, rng = {"leat": sys.argv[3], "kernel": sys.argv[4]}, random.Random(int(sys.argv[5]))
    count = 0
    for number in range(40):
        kind = rng.choice([TCP, UDP])
        # Nobody comes back on the same tuple: leat then has numbers of its own for the backend.
        talk = Conversation(client, backend, macs, kind, 20000 + 1000 * int(sys.argv[5]) + number)
        count += (tcp if kind is TCP else udp)(rng, talk)
    print(count)


main()
