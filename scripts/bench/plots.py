"""Which pictures there are, and which figures are in them."""

import svg

TITLES = {
    "throughput-modes.svg": "Throughput of one core: leat's modes beside testpmd",
    "cost-driver.svg": "Cost of a packet against the number of flows, driver included",
    "cost-pipeline.svg": "Cost of a packet against the number of flows, leat's pipeline alone",
    "requests.svg": "Requests a second, each on a new connection, end to end",
}


def draw(figures):
    """The pictures that there are figures for, by file name."""
    measured = [figure for figure in figures if figure.values]
    drawn = {
        "throughput-modes.svg": _throughput(figures),
        "cost-driver.svg": _cost_driver(measured),
        "cost-pipeline.svg": _cost_pipeline(measured),
        "requests.svg": _requests(figures),
    }
    return {name: picture for name, picture in drawn.items() if picture}


def _throughput(figures):
    chosen = _of(figures, "driver", "cost")
    measured = [figure for figure in chosen if figure.values]
    flows = sorted({figure.row.flows for figure in measured})
    # Packets a second on one core are the inverse of the cost.
    values = {(f.row.subject, f.row.flows): (1e3 / f.median, 1e3 / f.most, 1e3 / f.least) for f in measured}
    subjects = list(dict.fromkeys(figure.row.subject for figure in chosen))
    groups = [(subject, not subject.startswith("leat"), [values.get((subject, count)) for count in flows]) for subject in subjects]
    shades = [f"{count:,} flow{'s' if count > 1 else ''}" for count in flows]
    subtitle = "net_pcap infinite_rx, 60-byte frames, packets per second of on-CPU time: median, least and most. More is better"
    return values and svg.bars(TITLES["throughput-modes.svg"], subtitle, groups, shades, "Mpps")


def _cost_driver(figures):
    series = _series(_of(figures, "driver", "cost"), lambda row: (row.subject, row.what != "leat"))
    subtitle = "net_pcap infinite_rx, 60-byte frames, on-CPU time: median, least and most of the rounds. Less is better"
    return series and svg.lines(TITLES["cost-driver.svg"], subtitle, series, "ns")


def _cost_pipeline(figures):
    # All frames of one length: the mix of lengths is in the table, and so is TCP.
    chosen = [figure for figure in _of(figures, "pipeline", "forward-udp") if figure.row.frame]
    series = _series(chosen, lambda row: (f"{row.mode}, {row.setting}", row.setting == "reply"))
    subtitle = "UDP, packets made in memory, no driver: median, least and most of the rounds. Less is better"
    return series and svg.lines(TITLES["cost-pipeline.svg"], subtitle, series, "ns")


def _requests(figures):
    chosen = _of(figures, "end to end", "requests")
    groups = [(f"{f.row.subject}, {f.row.setting}", f.row.what != "leat", [_spread(f) if f.values else None]) for f in chosen]
    subtitle = "wrk, 64 at a time, through one port on a bridge; all on the same CPUs. More is better"
    drawable = any(figure.values for figure in chosen)
    return drawable and svg.bars(TITLES["requests.svg"], subtitle, groups, [""], "requests/s")


def _of(figures, level, measure):
    return [figure for figure in figures if (figure.row.level, figure.row.measure) == (level, measure)]


def _series(figures, name_of):
    """Lines by the name and the kind that `name_of` gives a row; the points in the order of flows."""
    found = {}
    for figure in figures:
        if figure.row.flows:
            found.setdefault(name_of(figure.row), []).append((figure.row.flows, *_spread(figure)))
    return [(name, dashed, sorted(points)) for (name, dashed), points in found.items()]


def _spread(figure):
    return figure.median, figure.least, figure.most
