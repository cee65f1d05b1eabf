"""Lcores 1 → 2: how much more one leat forwards with a second lcore, and how much two separate leats do.

Each lcore has a receive queue of net_pcap with a capture of its own. What owns a connection is a hash with a key that is new
at each start; a port without RSS does not know it, so packets of about half the flows are handed from one lcore to the
other. With one flow for each lcore there is a start, every few, after which both arrive at their owners: that shows lcores
without hand-over. Two separate leats share nothing but the machine: they show what it has to give.
"""

import samples
from captures import FRAME, write as write_capture
from driver import BUFFERS, WARM_UP, service
from process import Failure
from rows import Row

NAME = "lcores"

# On each lcore.
FLOWS = (1, 1_000)
# Starts until each of two flows is at its owner: one in four does, so that one run in a thousand finds none.
STARTS = 24

AGAINST = "leat fullnat, 1 lcore"


def run(run):
    if len(run.cpus) < 2:
        raise Failure("two lcores need two CPUs, and this machine gives one")
    for flows in FLOWS:
        queues = [run.directory / f"{flows}-queue{queue}.pcap" for queue in range(2)]
        for queue, path in enumerate(queues):
            write_capture(path, flows, first=queue * flows)
        try:
            yield from _rounds(run, queues, flows)
        finally:
            run.programs.end_all()


def _rounds(run, queues, flows):
    one, two = run.cpus[:2]
    start = _start_at_owners if flows == 1 else _start
    # The first, because it may take several starts, and no other is to run meanwhile.
    both = start(run, f"both-{flows}", [one, two], queues)
    groups = {
        "1 lcore": [_start(run, f"one-{flows}", [one], queues[:1])],
        "2 lcores": [both],
        "two leats, 1 lcore each": [
            _start(run, f"first-{flows}", [one], queues[:1]), _start(run, f"second-{flows}", [two], queues[1:]),
        ],
    }  # fmt: skip
    for round in range(1, run.rounds(quick=2, full=9) + 1):
        for lcores, group in groups.items():
            yield from _measure(run, lcores, group, {"flows": flows, "round": round})


def _measure(run, lcores, group, row):
    row |= {"level": NAME, "what": "leat", "mode": f"fullnat, {lcores}", "setting": str(run.memory), "frame": FRAME}
    for leat in group:
        leat.program.resume()
    try:
        samples.window(group[0].sample, WARM_UP)
        before = [leat.sample() for leat in group]
        last = samples.window(group[-1].sample, 0.25 if run.quick else 1.0).after
        after = [leat.sample() for leat in group[:-1]] + [last]
    finally:
        for leat in group:
            leat.program.pause()
    windows = [samples.Window(*ends) for ends in zip(before, after)]
    # Of those that leave: what finds its ring to the other lcore full is dropped.
    rate = sum(window.rate_on_cpu * window.sent_share for window in windows)
    note = "; ".join(window.lost for window in windows if window.lost)
    yield Row(**row, measure="throughput", value=rate, unit="Mpps", against=AGAINST, note=note)
    if lcores == "2 lcores":
        yield Row(**row, measure="handed over", value=100 * windows[0].handed_over, unit="% of packets")


def _start(run, name, cpus, queues):
    """A leat that has received packets, paused."""
    device = ",".join(["--vdev=net_pcap0", *(f"rx_pcap={queue}" for queue in queues), "infinite_rx=1"])
    own = [*service("fullnat"), "--connections", 1 << 18, "--buffers", len(queues) * FLOWS[-1] + BUFFERS]
    leat = run.start_leat(f"lcores-{name}", ["-l", ",".join(map(str, cpus)), device], own)
    leat.program.wait_until("packets came on each lcore", lambda: leat.is_ready() and all(leat.sample().received))
    leat.program.pause()
    return leat


def _start_at_owners(run, name, cpus, queues):
    """The first of several that hands nothing over."""
    for number in range(STARTS):
        leat = _start(run, f"{name}-{number}", cpus, queues)
        leat.program.resume()
        window = samples.window(leat.sample, WARM_UP)
        leat.program.pause()
        if window.after.handed_over == 0:
            return leat
        run.programs.end(leat.program)
    raise Failure(f"in {STARTS} starts the flows of two lcores were never both at their owners")
