"""Captures of UDP flows to leat's VIP, for net_pcap to replay. Written byte by byte: a frame takes five lines."""

import struct
from ipaddress import IPv4Address

VIP = "10.0.0.10"
BACKEND = "10.0.0.2"
BACKEND_MAC = "02:00:00:00:00:02"
CLIENT_MAC = "02:00:00:00:00:01"
LEAT_MAC = "02:00:00:00:0a:fe"
PORT = 80
# The shortest Ethernet frame, without its checksum.
FRAME = 60

# The first client. Each flow has another address, as behind a VIP, and the same port.
_CLIENTS = int(IPv4Address("10.1.0.1"))


def write(path, flows, first=0):
    """Writes a capture with one frame of each flow, beginning with flow `first`."""
    with open(path, "wb") as file:
        # The file's header: magic, version 2.4, no time zone, accuracy, longest frame, Ethernet.
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for flow in range(first, first + flows):
            frame = udp_frame(flow)
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)


def udp_frame(flow):
    """One frame of a flow, by its number."""
    ethernet = _mac(LEAT_MAC) + _mac(CLIENT_MAC) + b"\x08\x00"
    length = FRAME - len(ethernet)
    source, destination = struct.pack("!I", _CLIENTS + flow), IPv4Address(VIP).packed
    # TTL 64, DF, no checksum yet; then with it (RFC 791).
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0x4000, 64, 17, 0) + source + destination
    ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
    # With a checksum (RFC 768), so that leat has to keep it right.
    udp = struct.pack("!HHHH", 40_000, PORT, length - len(ip), 0) + bytes(length - len(ip) - 8)
    pseudo_header = source + destination + struct.pack("!BBH", 0, 17, len(udp))
    return ethernet + ip + udp[:6] + struct.pack("!H", _checksum(pseudo_header + udp) or 0xFFFF) + udp[8:]


def _mac(text):
    return bytes.fromhex(text.replace(":", ""))


def _checksum(header):
    """The ones' complement of the ones' complement sum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
