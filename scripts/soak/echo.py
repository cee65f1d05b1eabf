"""Sends back each datagram that comes to a port, to where it came from."""

import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("", int(sys.argv[1])))
    while True:
        said, asker = server.recvfrom(65536)
        server.sendto(said, asker)
