"""What was measured, as rows of a CSV file: the one thing that runners hand to the reporter.

A runner yields Rows; the file holds them, after the facts about the machine, which are lines `# name: value`. The
reporter reads the file and nothing else, so a table can be made again from the results of another machine.
"""

import csv
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Row:
    """One value of one round, or, without a value, why there is none."""

    # Which part of the benchmark.
    level: str
    # What was measured: cost, requests, ...
    measure: str
    # Whose it is: leat, testpmd, nftables, ...
    what: str
    # Which way of working of it: fullnat, 5tswap, ...
    mode: str = ""
    # Under which circumstances: with hugepages, over a tap, ...
    setting: str = ""
    # Flows, and bytes of a frame, where that is the same for all packets.
    flows: int | None = None
    frame: int | None = None
    # Of all that were measured one after the other, from 1.
    round: int = 1
    value: float | None = None
    unit: str = ""
    # The `what mode` that it is compared to.
    against: str = ""
    # Why there is no value, or what to know about it.
    note: str = ""

    @property
    def subject(self):
        """By what name others compare themselves to it."""
        return f"{self.what} {self.mode}".strip()


COLUMNS = [field.name for field in fields(Row)]


class Writer:
    """Writes facts and rows to a file as they come, so that an interruption loses nothing that was measured."""

    def __init__(self, path, facts):
        self._file = open(path, "w", encoding="utf-8", newline="")
        for name, value in facts.items():
            self._file.write(f"# {name}: {value}\n")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow(COLUMNS)
        self._file.flush()

    def write(self, row):
        self._csv.writerow(_text(getattr(row, column)) for column in COLUMNS)
        self._file.flush()

    def close(self):
        self._file.close()


def read(path):
    """The facts and the rows of a file."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = file.readlines()
    facts = dict(line[1:].strip().split(": ", 1) for line in lines if line.startswith("#"))
    table = csv.DictReader(line for line in lines if not line.startswith("#"))
    return facts, [_row(record) for record in table]


def _text(value):
    if value is None:
        return ""
    if isinstance(value, float):
        # Six digits are more than any of these figures has.
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    return " ".join(str(value).split())


def _row(record):
    for name, kind in (("flows", int), ("frame", int), ("round", int), ("value", float)):
        record[name] = kind(record[name]) if record[name] else None
    return Row(**record)
