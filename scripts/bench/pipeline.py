"""Pipeline level, connection rate and memory: what the example `pipeline` measures, taken over as it is.

That program makes packets in memory and gives them to leat's pipeline, without a driver. It prints lines of
`what,mode,direction,flows,frame,round,value,unit`.
"""

import csv

from process import Failure, run as run_command
from rows import Row

NAME = "pipeline"

COLUMNS = ["what", "mode", "direction", "flows", "frame", "round", "value", "unit"]
# By unit: the level that it is a figure of.
LEVELS = {"connections/s": "connections", "bytes/connection": "memory"}


def run(run):
    yield from _part(run, "forward,connect", 1200)
    # In a process of its own: one that had larger tables before was seen to grow by less.
    yield from _part(run, "memory", 300)


def _part(run, what, seconds):
    program = ["--release", "-p", "leat", "--no-default-features", "--example", "pipeline"]
    command = ["cargo", "run", "-q", *program, "--", "--csv", "--what", what]
    if run.quick:
        command.append("--quick")
    # On the CPU of all other measurements; what cargo has to build before is not measured.
    pinned = ["taskset", "-c", str(run.cpus[0]), *command]
    try:
        text = run_command(pinned, seconds=300 if run.quick else seconds, cwd=run.repository)
    except Failure as failure:
        # What it measured before is as good as if it had come to its end.
        yield from parse(failure.stdout)
        raise
    yield from parse(text)


def parse(text):
    """The rows in the program's output; lines of other shapes are cargo's."""
    for record in csv.reader(text.splitlines()):
        if len(record) != len(COLUMNS) or record == COLUMNS:
            continue
        what, mode, direction, flows, frame, round, value, unit = (field.strip() for field in record)
        # A mix of sizes is no number: it is named with the direction.
        setting = ", ".join(word for word in (direction, "" if frame.isdigit() else frame) if word)
        yield Row(
            LEVELS.get(unit, NAME), what, "leat", mode, setting, int(float(flows)) if flows else None,
            int(frame) if frame.isdigit() else None, int(round or 1), float(value), unit,
        )  # fmt: skip
