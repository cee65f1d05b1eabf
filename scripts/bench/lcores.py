"""Lcores 1 → 2: how much more one leat forwards with a second lcore, and how much two separate leats do.

Each lcore has a receive queue of net_pcap with a capture of its own. What owns a connection is a keyed hash; a port without
RSS does not know it, so a part of the packets is handed from one lcore to the other: `handed over` says how large. Two
separate leats share nothing but the machine: they show what it has to give.
"""

import captures
import samples
from driver import BUFFERS, WARM_UP, service
from process import Failure
from rows import Row

NAME = "lcores"

# On each lcore.
FLOWS = 1_000


def run(run):
    if len(run.cpus) < 2:
        raise Failure("two lcores need two CPUs, and this machine gives one")
    queues = []
    for queue in range(2):
        queues.append(run.directory / f"queue{queue}.pcap")
        captures.write(queues[queue], FLOWS, first=queue * FLOWS)
    try:
        yield from _rounds(run, queues)
    finally:
        run.programs.end_all()


def _rounds(run, queues):
    one, two = run.cpus[:2]
    groups = {
        "1 lcore": [_leat(run, "one", [one], queues[:1])],
        "2 lcores": [_leat(run, "both", [one, two], queues)],
        "1 lcore each, two leats": [_leat(run, "first", [one], queues[:1]), _leat(run, "second", [two], queues[1:])],
    }
    for group in groups.values():
        for leat in group:
            leat.program.wait_until("its first packet", lambda: leat.is_ready() and sum(leat.sample().received) > 0)
            leat.program.pause()
    for round in range(1, run.rounds(quick=3, full=11) + 1):
        for lcores, group in groups.items():
            yield from _measure(run, lcores, group, round)


def _measure(run, lcores, group, round):
    row = {
        "level": NAME, "what": "leat", "mode": f"fullnat, {lcores}", "setting": str(run.memory), "frame": captures.FRAME,
        "flows": FLOWS * max(len(group), 1 + lcores.startswith("2")), "round": round,
    }  # fmt: skip
    for leat in group:
        leat.program.resume()
    try:
        samples.window(group[0].sample, WARM_UP)
        before = [leat.sample() for leat in group]
        last = samples.window(group[-1].sample, 0.4 if run.quick else 1.0).after
        after = [leat.sample() for leat in group[:-1]] + [last]
    finally:
        for leat in group:
            leat.program.pause()
    windows = [samples.Window(*ends) for ends in zip(before, after)]
    # Of those that leave: what finds its ring to the other lcore full is dropped.
    rate = sum(window.rate_on_cpu * window.sent_share for window in windows)
    note = "; ".join(window.lost for window in windows if window.lost)
    yield Row(**row, measure="throughput", value=rate, unit="Mpps", against="leat fullnat, 1 lcore", note=note)
    if lcores == "2 lcores":
        yield Row(**row, measure="handed over", value=100 * windows[0].handed_over, unit="% of packets")


def _leat(run, name, cpus, queues):
    device = ",".join(["--vdev=net_pcap0", *(f"rx_pcap={queue}" for queue in queues), "infinite_rx=1"])
    own = [*service("fullnat"), "--connections", 1 << 18, "--buffers", len(queues) * FLOWS + BUFFERS]
    return run.start_leat(f"lcores-{name}", ["-l", ",".join(map(str, cpus)), device], own)
