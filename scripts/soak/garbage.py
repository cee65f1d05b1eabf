"""Sends to an Ethernet address what nobody should: frames of noise, and packets to the VIP with something wrong about each."""

import random
import socket
import struct
import sys
import time

VIP = bytes([10, 0, 0, 10])


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(rng):
    """A TCP, UDP or ICMP packet from somewhere, most often with a few bytes changed."""
    source = bytes([10, 1, rng.randrange(256), rng.randrange(256)])
    protocol = rng.choice([6, 6, 17, 1, 4, rng.randrange(256)])
    ports = struct.pack("!HH", rng.randrange(65536), rng.choice([8080, 5353, 80]))
    payload = ports + rng.randbytes(rng.choice([4, 16, 16, 40, 400]))
    if protocol == 6 and rng.random() < 0.7:
        flags = rng.choice([2, 2, 2, 0x10, 0x11, 4, 0x12])
        head = ports + rng.randbytes(8) + bytes([0x50, flags]) + b"\4\0\0\0\0\0"
        pseudo = source + VIP + struct.pack("!HH", 6, len(head))
        payload = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
    fragment = rng.choice([0, 0, 0, 0x2000, rng.randrange(65536)])
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), rng.randrange(65536), fragment, 64, protocol, 0, source, VIP)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    frame = bytearray(head + payload)
    for _ in range(rng.choice([0, 0, 1, 3])):
        frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    return bytes(frame)


def main():
    mac, rng = bytes.fromhex(sys.argv[1].replace(":", "")), random.Random(int(sys.argv[2]))
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("eth0", 0))
    own = raw.getsockname()[4]
    while True:
        for _ in range(rng.randrange(1, 200)):
            if rng.random() < 0.1:
                frame = mac + own + rng.randbytes(rng.randrange(2, 200))
            else:
                frame = mac + own + b"\x08\x00" + packet(rng)
            raw.send(frame)
        time.sleep(rng.random() / 10)


main()
