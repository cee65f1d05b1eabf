"""Driver level: leat in each mode beside testpmd, which is DPDK's own program, on the same port and the same packets.

net_pcap with `infinite_rx` replays a capture from memory and drops what is sent, so the figures are of the programs. All
of them run at once, paused (SIGSTOP) but for the one that is measured: a round takes them one after the other, and what
changes on the machine from minute to minute changes for all alike.
"""

import captures
import samples
from process import need
from rows import Row

NAME = "driver"

FLOWS = (1, 1_000, 16_384)
TESTPMD = ("io", "macswap", "5tswap")
MODES = ("fullnat", "nat", "dr", "ipip", "gue")
# What leat is compared to: it reads and writes the same headers, and knows no connections.
AGAINST = "testpmd 5tswap"

# Packet buffers beside those that net_pcap keeps, one for each packet of its capture.
BUFFERS = 8_192
# Seconds from resuming to the first sample: caches and predictors are to be warm.
WARM_UP = 0.15


def run(run):
    need("dpdk-testpmd")
    seconds = 0.25 if run.quick else 1.0
    for flows in FLOWS:
        capture = run.directory / f"{flows}.pcap"
        captures.write(capture, flows)
        contestants = [_testpmd(run, mode, capture, flows) for mode in TESTPMD]
        contestants += [_leat(run, mode, capture, flows) for mode in MODES]
        try:
            yield from _rounds(run, contestants, flows, seconds)
        finally:
            run.programs.end_all()


def _rounds(run, contestants, flows, seconds):
    for contestant in contestants:
        yield from contestant.wait_until_ready(flows, run)
    for round in range(1, run.rounds(quick=3, full=9) + 1):
        for contestant in contestants:
            yield from contestant.measure(round, flows, seconds, run)


class Contestant:
    """A process on the capture, paused while it is not measured."""

    def __init__(self, what, mode, program, take, is_ready):
        self._row = {"level": NAME, "what": what, "mode": mode, "frame": captures.FRAME}
        self._program, self._take, self._is_ready = program, take, is_ready
        self._is_running = False

    def wait_until_ready(self, flows, run):
        yield from self._guarded(1, flows, run, self._become_ready)

    def measure(self, round, flows, seconds, run):
        if self._is_running:
            yield from self._guarded(round, flows, run, lambda: self._window(seconds))

    def _become_ready(self):
        self._program.wait_until("its first packet", self._is_ready)
        self._program.pause()
        self._is_running = True

    def _window(self, seconds):
        self._program.resume()
        try:
            samples.window(self._take, WARM_UP)
            return samples.window(self._take, seconds)
        finally:
            self._program.pause()

    def _guarded(self, round, flows, run, action):
        """The rows of a window, or one that says why there is none; the others go on."""
        row = {**self._row, "flows": flows, "round": round, "setting": str(run.memory)}
        try:
            window = action()
        except run.FAILURES as error:
            self._is_running = self._is_running and self._program.is_running()
            yield Row(**row, measure="cost", unit="ns/packet", against=AGAINST, note=str(error))
            return
        if window:
            yield Row(**row, measure="cost", value=window.cost, unit="ns/packet", against=AGAINST, note=window.lost)
            yield Row(**row, measure="clock rate", value=window.rate, unit="Mpps", against=AGAINST)


def _testpmd(run, mode, capture, flows):
    program, take, is_ready = start_testpmd(run, f"{mode}-{flows}", mode, run.cpus[:1], [capture], flows)
    return Contestant("testpmd", mode, program, take, is_ready)


def start_testpmd(run, name, mode, cpus, queues, flows):
    """testpmd with an lcore on each of `cpus` for one of `queues`; how to take a sample; whether it has received packets."""
    prefix = f"leat-bench-{run.id}-testpmd-{name}"
    lcores = ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate([run.cpus[-1], *cpus]))
    device = ",".join(["--vdev=net_pcap0", *(f"rx_pcap={queue}" for queue in queues), "infinite_rx=1"])
    program = run.programs.start(f"testpmd-{name}", [
        "dpdk-testpmd", "--no-pci", f"--lcores={lcores}", *run.memory.eal(256), f"--file-prefix={prefix}", device,
        "--", f"--forward-mode={mode}", "--auto-start", f"--total-num-mbufs={len(queues) * flows + BUFFERS}",
        f"--nb-cores={len(cpus)}", f"--rxq={len(queues)}", f"--txq={len(queues)}",
    ])  # fmt: skip
    telemetry = run.runtime(prefix) / "dpdk_telemetry.v2"
    take = lambda: samples.of_testpmd(program.pid, telemetry)  # noqa: E731
    return program, take, lambda: telemetry.exists() and _has_received(take)


def _leat(run, mode, capture, flows):
    leat = run.start_leat(
        f"leat-{mode}-{flows}", [f"-l{run.cpus[0]}", f"--vdev=net_pcap0,rx_pcap={capture},infinite_rx=1"],
        [*service(mode), "--connections", 1 << 18, "--buffers", flows + BUFFERS],
    )  # fmt: skip
    return Contestant("leat", mode, leat.program, leat.sample, lambda: leat.is_ready() and _has_received(leat.sample))


def service(mode):
    """leat's options for the captures' flows: one service with one backend, whose Ethernet address is known."""
    backend = f"{captures.BACKEND},mac={captures.BACKEND_MAC}"
    options = ["--vip", f"udp:{captures.VIP}:{captures.PORT}", "--backend", backend, "--mode", mode]
    own_address = ["--address", "10.0.0.254/24"] if mode in ("ipip", "gue") else []
    return [*options, *own_address, "--mac", captures.LEAT_MAC]


def _has_received(take):
    try:
        return all(take().received)
    except OSError:
        # Its socket is there before somebody listens.
        return False
