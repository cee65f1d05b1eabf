"""From rows to figures: what was measured several times becomes a median, a least, a most, and a comparison."""

from dataclasses import dataclass
from statistics import median

from rows import Row

# Of these less is better; of all other units more.
_LESS_IS_BETTER = {"ns/packet", "ns", "µs", "bytes/connection", "instructions", "% of packets"}


@dataclass(frozen=True)
class Figure:
    """All rounds of one thing."""

    # The first row: it says what was measured. Its value is that of one round only.
    row: Row
    values: tuple[float, ...]
    # How many rounds gave no value.
    failed: int
    note: str
    # How many times as good it is as what it is compared to: the median over the rounds that both have.
    ratio: float | None

    @property
    def median(self):
        return median(self.values) if self.values else None

    @property
    def least(self):
        return min(self.values, default=None)

    @property
    def most(self):
        return max(self.values, default=None)


def figures(rows):
    """In the order in which things were first measured."""
    groups = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row)
    references = _references(groups.values())
    return [_figure(group, references) for group in groups.values()]


def _figure(group, references):
    first = group[0]
    values = {row.round: row.value for row in group if row.value is not None}
    reference = references.get((*_ground(first), first.against), {}) if first.subject != first.against else {}
    ratios = [_times_as_good(first.unit, values[round], reference[round]) for round in values if round in reference]
    notes = [row.note for row in group if row.note]
    note = (notes[0] + (f" (and in {len(notes) - 1} more)" if notes[1:] else "")) if notes else ""
    return Figure(first, tuple(values.values()), len(group) - len(values), note, median(ratios) if ratios else None)


def _times_as_good(unit, value, reference):
    good, other = (reference, value) if unit in _LESS_IS_BETTER else (value, reference)
    return good / other if other else 0.0


def _key(row):
    return (row.level, row.measure, row.what, row.mode, row.setting, row.flows, row.frame, row.unit)


def _ground(row):
    """What two rows must share to be compared: not the setting, which is often what differs."""
    return (row.level, row.measure, row.frame, row.unit, row.flows)


def _references(groups):
    """Values by round, of each that others may be compared to."""
    found = {}
    for group in groups:
        values = {row.round: row.value for row in group if row.value is not None}
        found.setdefault((*_ground(group[0]), group[0].subject), values)
    return found
