"""Lcores 1 → 2: how much more one leat forwards with a second lcore, how much two separate leats do, and how much testpmd does.

Each lcore has a receive queue of net_pcap with a capture of its own. What owns a connection is a hash with a key that is new
at each start; a port without RSS does not know it, so packets of about half the flows are handed from one lcore to the
other. With one flow for each lcore there is a start, every few, after which both arrive at their owners: that shows lcores
without hand-over. Two separate leats share nothing but the machine: they show what it has to give. testpmd, whose lcores have
nothing to tell each other, shows what one process and one port have to give.

Each round starts every leat anew. Where a process finds its memory differs from start to start, and with it what a packet costs:
one leat on one lcore took 40.4 to 44.0 ns in twelve starts, each steady by itself. With two lcores that luck is drawn twice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import samples
from captures import FRAME, write as write_capture
from driver import BUFFERS, WARM_UP, service, start_testpmd
from process import Failure, Program, need
from rows import Row

NAME = "lcores"

# On each lcore.
FLOWS = (1, 1_000)
# Starts until each of two flows is at its owner: one in four does, so that one run in a thousand finds none.
STARTS = 24

# What testpmd does to a packet: it reads and writes the headers that leat does.
TESTPMD = "5tswap"


def run(run):
    if len(run.cpus) < 2:
        raise Failure("two lcores need two CPUs, and this machine gives one")
    need("dpdk-testpmd")
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
    groups = {
        ("leat", "fullnat, 1 lcore"): [(_start, [one], queues[:1])],
        ("leat", "fullnat, 2 lcores"): [(start, [one, two], queues)],
        ("leat", "fullnat, two leats, 1 lcore each"): [(_start, [one], queues[:1]), (_start, [two], queues[1:])],
        ("testpmd", f"{TESTPMD}, 1 lcore"): [(_start_testpmd, [one], queues[:1])],
        ("testpmd", f"{TESTPMD}, 2 lcores"): [(_start_testpmd, [one, two], queues)],
    }
    for round in range(1, run.rounds(quick=2, full=9) + 1):
        for (what, mode), starts in groups.items():
            name = "".join(letter if letter.isalnum() else "-" for letter in f"{mode}-{flows}-{round}")
            group = [start(run, f"{name}-{at}", cpus, files) for at, (start, cpus, files) in enumerate(starts)]
            subject = {"what": what, "mode": mode, "flows": flows, "round": round}
            yield from _measure(run, group, subject)
            run.programs.end_all()


def _measure(run, group, subject):
    row = {"level": NAME, "setting": str(run.memory), "frame": FRAME, **subject}
    for one in group:
        one.program.resume()
    samples.window(group[0].sample, WARM_UP)
    before = [one.sample() for one in group]
    last = samples.window(group[-1].sample, 0.25 if run.quick else 1.0).after
    after = [one.sample() for one in group[:-1]] + [last]
    windows = [samples.Window(*ends) for ends in zip(before, after)]
    # Of those that leave: what finds its ring to the other lcore full is dropped.
    rate = sum(window.rate_on_cpu * window.sent_share for window in windows)
    note = "; ".join(window.lost for window in windows if window.lost)
    against = f"{subject['what']} {subject['mode'].split(',')[0]}, 1 lcore"
    yield Row(**row, measure="throughput", value=rate, unit="Mpps", against=against, note=note)
    if subject["mode"] == "fullnat, 2 lcores":
        yield Row(**row, measure="handed over", value=100 * windows[0].handed_over, unit="% of packets")


@dataclass
class Testpmd:
    """A running testpmd."""

    program: Program
    sample: Callable[[], samples.Sample]


def _start_testpmd(run, name, cpus, queues):
    """A testpmd that has received packets, paused."""
    program, sample, is_ready = start_testpmd(run, name, TESTPMD, cpus, queues, FLOWS[-1])
    program.wait_until("packets came on each lcore", is_ready)
    program.pause()
    return Testpmd(program, sample)


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
