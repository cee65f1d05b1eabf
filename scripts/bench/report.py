"""The report: one table for the terminal; a page with tables and pictures for the repository. Both from the rows alone."""

import textwrap
from pathlib import Path

import plots
from figures import figures

TEMPLATE = Path(__file__).with_name("README.template.md")

HEAD = ["what", "how", "flows", "median", "min", "max", "unit", "runs", "as good as"]
# In the file and on the page only: on a quiet machine it says what the cost says.
_DETAILS = {"clock rate"}
# What it took to make the packets that are forwarded: on the terminal it stands beside that.
_MAKING = ("forward-", "make-")


def table(facts, rows):
    """Everything, for a terminal."""
    lines = [HEAD]
    everything = figures(rows)
    making = {_packets(figure.row): figure for figure in everything if figure.row.measure.startswith(_MAKING[1])}
    for level, group in _by_level(everything).items():
        lines.append([level])
        shown = [f for f in group if f.row.measure not in _DETAILS and f not in making.values()]
        lines += [_with_making(_cells(figure), making.get(_packets(figure.row))) for figure in shown]
    widths = [max(len(line[i]) for line in lines if len(line) == len(HEAD)) for i in range(len(HEAD))]
    text = [_facts_line(facts), ""]
    for line in lines:
        if len(line) == 1:
            text += ["", line[0]]
            continue
        cells = [cell.rjust(width) if 2 <= i <= 5 or i == 7 else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(line, widths))]  # fmt: skip
        text.append("  " + "  ".join(cells).rstrip())
    return "\n".join(text)


def write(facts, rows, out):
    """The page and its pictures, into a folder that is there."""
    everything = figures(rows)
    pictures = plots.draw(everything)
    for name, svg in pictures.items():
        (out / name).write_text(svg, encoding="utf-8")
    page = TEMPLATE.read_text(encoding="utf-8")
    page = page.replace("<!-- machine -->", _facts_table(facts))
    page = page.replace("<!-- pictures -->", "\n\n".join(f"![{plots.TITLES[name]}]({name})" for name in pictures))
    page = page.replace("<!-- figures -->", "\n\n".join(_sections(everything)))
    (out / "README.md").write_text(page, encoding="utf-8")


def number(value):
    """With three digits that count; thousands apart."""
    if value is None:
        return "-"
    if abs(value) >= 1e7:
        return f"{value / 1e6:,.1f}M"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _with_making(cells, made):
    *others, remarks = cells
    making = f"making it took {number(made.median)} ns more" if made and made.values else ""
    return [*others, "; ".join(filter(None, (remarks, making)))]


def _packets(row):
    """Which packets they were, the same for forwarding them and for making them."""
    word = next((word for word in _MAKING if row.measure.startswith(word)), None)
    return word and (row.level, row.measure.removeprefix(word), row.mode, row.setting, row.flows, row.frame)


def _by_level(all_figures):
    levels = {}
    for figure in all_figures:
        levels.setdefault(figure.row.level, []).append(figure)
    return levels


def _cells(figure):
    row = figure.row
    how = ", ".join(word for word in (row.setting, f"{row.frame} bytes" if row.frame else "") if word)
    name = ": ".join(word for word in (row.subject, row.measure) if word)
    flows = f"{row.flows:,}" if row.flows else ""
    got, tried = len(figure.values), len(figure.values) + figure.failed
    runs = f"{got} of {tried}" if figure.failed else f"{got}"
    if not figure.values:
        return [name, how, flows, "failed", "", "", "", runs, figure.note]
    rate = f" = {1e3 / figure.median:.1f} Mpps" if row.unit == "ns/packet" else ""
    compared = f"{figure.ratio:.2f} × {row.against}" if figure.ratio is not None else ""
    remarks = "; ".join(word for word in (compared, figure.note) if word)
    values = [number(figure.median), number(figure.least), number(figure.most)]
    return [name, how, flows, *values, row.unit + rate, runs, remarks]


def _sections(everything):
    for level, group in _by_level(everything).items():
        lines = [HEAD, ["---", "---", "--:", "--:", "--:", "--:", "---", "--:", "---"], *map(_cells, group)]
        yield f"### {level[0].upper()}{level[1:]}\n\n" + "\n".join(_markdown(line) for line in lines)


def _markdown(cells):
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _facts_table(facts):
    return "\n".join(["| | |", "|---|---|", *(_markdown([name, value]) for name, value in facts.items())])


def _facts_line(facts):
    return textwrap.fill("; ".join(f"{name} {value}" for name, value in facts.items()), 120)
