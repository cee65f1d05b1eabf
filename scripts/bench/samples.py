"""Asking a running DPDK process how many packets it has received, and the kernel how long its lcores have been on a CPU.

The cost of a packet is on-CPU time divided by packets: what else the machine does in the meantime makes a window
longer and not the packet dearer.
"""

import http.client
import json
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """Counts at one moment. Per lcore, in the order of lcores: packets received, and nanoseconds on a CPU."""

    at: float
    received: list[int]
    on_cpu: list[int]
    sent: int
    # leat only: what its workers counted besides.
    handed_over: int = 0
    drops: dict[str, int] | None = None


@dataclass(frozen=True)
class Window:
    """What happened between two samples."""

    before: Sample
    after: Sample

    @property
    def received(self):
        return sum(self.after.received) - sum(self.before.received)

    @property
    def cost(self):
        """On-CPU nanoseconds of all lcores for a packet."""
        return (sum(self.after.on_cpu) - sum(self.before.on_cpu)) / self.received

    @property
    def rate(self):
        """Million packets a second of clock time."""
        return self.received / (self.after.at - self.before.at) / 1e6

    @property
    def rate_on_cpu(self):
        """Million packets a second that the lcores take together while they have their CPUs."""
        lcores = zip(self.before.received, self.after.received, self.before.on_cpu, self.after.on_cpu)
        return sum(1e3 * (r1 - r0) / (c1 - c0) for r0, r1, c0, c1 in lcores if c1 > c0)

    @property
    def handed_over(self):
        """The share of the received packets that went to another lcore first."""
        return (self.after.handed_over - self.before.handed_over) / self.received

    @property
    def sent_share(self):
        """Of the received packets, those that were sent."""
        return (self.after.sent - self.before.sent) / self.received

    @property
    def lost(self):
        """How much was not sent, as a text for a row's note; nothing if it was less than one packet in a thousand.

        Counters of one sample are read one after the other, so the last burst or two may be in one and not in the other.
        """
        missing = self.received - (self.after.sent - self.before.sent)
        if missing <= max(self.received / 1000, 1000):
            return ""
        before, after = self.before.drops or {}, self.after.drops or {}
        drops = [(count - before.get(reason, 0), reason) for reason, count in after.items()]
        return f"{missing / self.received:.1%} not sent" + (f", most as {max(drops)[1]}" if drops else "")


def window(take, seconds):
    before = take()
    time.sleep(seconds)
    return Window(before, take())


def of_leat(pid, api):
    """A sample of leat by its API: exact per lcore, whatever the port counts."""
    workers = json.loads(_http_get(api, "/api/v1/status"))["workers"]
    drops = {}
    for worker in workers:
        for reason, count in worker["drops"].items():
            drops[reason] = drops.get(reason, 0) + count
    return Sample(
        time.monotonic(), [worker["received"] for worker in workers], _on_cpu(lcore_threads(pid)),
        sum(worker["transmitted"] for worker in workers), sum(worker["handed_over"] for worker in workers), drops,
    )  # fmt: skip


def of_testpmd(pid, telemetry):
    """A sample of testpmd by DPDK's telemetry: its port 0, of which each forwarding lcore has a queue. Its main lcore waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(5)
        link.connect(str(telemetry))
        link.recv(4096)
        link.send(b"/ethdev/xstats,0")
        statistics = json.loads(link.recv(1 << 16))["/ethdev/xstats"]
    queues = ((re.match(r"rx_q(\d+)_packets", name), count) for name, count in statistics.items())
    received = [count for _, count in sorted((int(m[1]), count) for m, count in queues if m)]
    return Sample(time.monotonic(), received, _on_cpu(lcore_threads(pid)[1:]), statistics["tx_good_packets"])


def lcore_threads(pid):
    """The folders of the lcores' threads: the main one, then the workers by their lcore's number."""
    threads = Path(f"/proc/{pid}/task")
    # The name is DPDK's: rte-worker-1, in newer releases dpdk-worker1.
    workers = [(re.match(r"(?:rte|dpdk)-worker-?(\d+)", _name(thread)), thread) for thread in threads.iterdir()]
    return [threads / str(pid), *(thread for _, thread in sorted((int(m[1]), t) for m, t in workers if m))]


def _name(thread):
    try:
        return (thread / "comm").read_text()
    except OSError:
        # It has just ended, as those do that serve telemetry.
        return ""


def _on_cpu(threads):
    return [int((thread / "schedstat").read_text().split()[0]) for thread in threads]


def _http_get(socket_path, path):
    class Connection(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(socket_path))

    connection = Connection("leat", timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()
