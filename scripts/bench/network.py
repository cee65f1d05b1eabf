"""The network of the end-to-end level: namespaces of scripts/netns.sh, and in each what the contestants need.

    client 10.0.0.1 ─┐                    ┌─ forwarder 10.0.0.4: routing, nftables, HAProxy
    b1 10.0.0.2 ─────┼─ bridge, one link ─┤
    b2 10.0.0.3 ─────┘                    └─ leat: a tap, or af_xdp on veth

Whoever balances has one port on that bridge, and each packet crosses it twice. Nothing is outside of the namespaces.
"""

import re

from process import Failure, run

CLIENT = "10.0.0.1"
BACKENDS = {"b1": "10.0.0.2", "b2": "10.0.0.3"}
FORWARDER = "10.0.0.4"
# The backends' address behind plain routing: both hold it, and the forwarder spreads connections over them.
DIRECT = "10.0.1.1"
# And the first backend's alone, because iperf3's connections belong together.
DIRECT_BULK = "10.0.1.2"
VIPS = {"tap": "10.0.0.10", "af_xdp": "10.0.0.11", "nftables": "10.0.0.12", "haproxy": "10.0.0.13"}
# Source addresses towards the backends, where there are many.
KERNEL_SOURCES = [f"10.0.0.{64 + i}" for i in range(64)]
LEAT_SOURCES = [f"10.0.0.{128 + i}" for i in range(64)]
WEB, BULK = 8080, 5201


class Network:
    """The namespaces, while they are there."""

    def __init__(self, repository, id):
        self._netns = repository / "scripts/netns.sh"
        # A name that ends in a process id: `netns.sh down --orphans` takes away what a run left that was killed.
        self._name = f"bench_{id}"

    def namespace(self, role):
        # netns.sh calls it the third backend.
        return f"leat-{self._name}-{'b3' if role == 'forwarder' else role}"

    def inside(self, role, *command):
        """A command to run in a namespace."""
        return ["ip", "netns", "exec", self.namespace(role), *command]

    def run(self, role, *command, **options):
        return run(self.inside(role, *command), **options)

    def ip(self, role, *arguments):
        return run(["ip", "-n", self.namespace(role), *arguments])

    def up(self):
        # What an earlier run left that was killed.
        run([self._netns, "down", "--orphans"], seconds=60)
        run([self._netns, "--name", self._name, "up", "--clients", "1", "--backends", "3"], seconds=60)
        for role in ("client", *BACKENDS, "forwarder"):
            # All source ports, and no table of neighbours that stops at 128 addresses.
            self._sysctl(role, "net.ipv4.ip_local_port_range=1024 65535")
        self._add_veth_port()
        self._route()

    def down(self):
        run([self._netns, "--name", self._name, "down"], seconds=60, check=False)

    def forget_neighbors(self):
        """The next contestant has the same addresses, and another Ethernet address."""
        for role in ("client", *BACKENDS):
            self.ip(role, "neighbor", "flush", "all")

    def listens(self, role, port):
        """Whether somebody there has this TCP port open."""
        return bool(self.run(role, "ss", "-Hlnt", f"sport = :{port}").strip())

    def _add_veth_port(self):
        """A second port for leat on the bridge, as `netns.sh up --veth` makes it."""
        self.ip("lb", "link", "add", "vethdpdk", "address", "02:00:00:00:01:01", "type", "veth", "peer", "name", "vethbr")
        for link in ("vethdpdk", "vethbr"):
            self.run("lb", "ethtool", "-K", link, *"tx off sg off tso off gso off gro off".split())
        self.ip("lb", "link", "set", "vethbr", "master", "br0", "up")
        self.ip("lb", "link", "set", "vethdpdk", "up")

    def _route(self):
        """Makes the forwarder a router between client and backends, and their balancer where one runs on it."""
        self._sysctl("forwarder", "net.ipv4.ip_forward=1", "net.ipv4.fib_multipath_hash_policy=1")
        # Both ends are on its one link: it must not tell them so.
        self._sysctl("forwarder", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0")
        for address in (VIPS["nftables"], VIPS["haproxy"], *KERNEL_SOURCES):
            self.ip("forwarder", "address", "add", f"{address}/32", "dev", "eth0")
        hops = [word for address in BACKENDS.values() for word in ("nexthop", "via", address)]
        self.ip("forwarder", "route", "add", DIRECT, *hops)
        self.ip("forwarder", "route", "add", DIRECT_BULK, "via", BACKENDS["b1"])
        for address in (DIRECT, DIRECT_BULK):
            self.ip("client", "route", "add", address, "via", FORWARDER)
        for role in BACKENDS:
            self.ip(role, "address", "add", f"{DIRECT}/32", "dev", "lo")
            self.ip(role, "route", "add", CLIENT, "via", FORWARDER)
        self.ip("b1", "address", "add", f"{DIRECT_BULK}/32", "dev", "lo")

    def _sysctl(self, role, *settings):
        self.run(role, "sysctl", "-qw", *settings)


def requests(network, address, seconds, connections):
    """What parse_wrk says of requests that are each on a connection of its own."""
    said = network.run(
        "client", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", "Connection: close",
        f"http://{address}:{WEB}/", seconds=seconds + 20,
    )  # fmt: skip
    return parse_wrk(said)


def parse_wrk(said):
    """wrk's requests a second; percentiles of their latency in µs; what went wrong."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None:
        raise Failure(f"wrk reported no rate: {said.strip()[-200:]}")
    scale = {"us": 1.0, "ms": 1e3, "s": 1e6}
    lines = re.findall(r"^\s+(50|90|99)%\s+([\d.]+)(us|ms|s)$", said, re.MULTILINE)
    percentiles = {int(percent): float(value) * scale[unit] for percent, value, unit in lines}
    errors = re.findall(r"(connect|read|write|timeout) ([1-9]\d*)", said)
    wrong = re.findall(r"Non-2xx or 3xx responses: (\d+)", said)
    note = ", ".join([f"{count} {kind} errors" for kind, count in errors] + [f"{count} wrong answers" for count in wrong])
    return float(rate[1]), percentiles, note


def answers(network, address):
    """Whether a request to this address is answered."""
    url = f"http://{address}:{WEB}/"
    return "Hello" in network.run("client", "curl", "-s", "--max-time", "1", url, check=False)
