"""Two kinds of pictures, as SVG: lines over a logarithmic axis, and bars. The same figures give the same bytes."""

from math import floor, log10
from xml.sax.saxutils import escape

WIDTH = 860
# Told apart by people who see fewer colours, too (Okabe and Ito, 2008), without the yellow that vanishes on white.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555", "#7a5195"]
# From light to dark, for what grows: of what is looked at, and of what it is compared to.
SHADES, OTHERS = ["#9ecae1", "#4292c6", "#08519c"], ["#cdd2d7", "#9aa2aa", "#626b74"]
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.title{font-size:16px;font-weight:600;fill:#111}"
    ".small{font-size:12px;fill:#666}.grid{stroke:#e3e3e3}.axis{stroke:#999}.end{text-anchor:end}.middle{text-anchor:middle}"
)


class Picture:
    """Elements, one after the other."""

    def __init__(self, title, subtitle, height):
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            f' role="img"><title>{escape(title)}</title><style>{_STYLE}</style>'
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        ]
        self.text(24, 30, title, "title")
        self.text(24, 50, subtitle, "small")

    def text(self, x, y, words, kind=""):
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, attributes):
        self._parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {attributes}/>')

    def bar(self, x, y, width, height, color):
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{color}"/>'
        )

    def path(self, points, attributes):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke-width="2.2" {attributes}/>')

    def dot(self, x, y, color):
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{color}"/>')

    def __str__(self):
        return "\n".join([*self._parts, "</svg>", ""])


def lines(title, subtitle, series, unit):
    """`series`: (name, dashed, [(x, median, least, most)]). The x axis is logarithmic, the y axis begins at 0."""
    left, right, top, bottom, height = 64, WIDTH - 200, 96, 410, 460
    picture = Picture(title, subtitle, height)
    xs = [point[0] for _, _, points in series for point in points]
    low, high = log10(min(xs)), max(log10(max(xs)), log10(min(xs)) + 1)
    most = max(point[3] for _, _, points in series for point in points)
    x_of = lambda x: left + 14 + (log10(x) - low) / (high - low) * (right - left - 28)  # noqa: E731
    y_of = lambda y: bottom - y / top_tick * (bottom - top)  # noqa: E731

    ticks = _ticks(most)
    top_tick = ticks[-1]
    for tick in ticks:
        picture.line(left, y_of(tick), right, y_of(tick), 'class="grid"')
        picture.text(left - 8, y_of(tick) + 4, f"{tick:g}", "end")
    picture.text(left - 8, top - 12, unit, "small")
    for power in range(floor(low), floor(high) + 1):
        if low <= power:
            picture.text(x_of(10**power), bottom + 20, _flows(10**power), "middle")
    picture.line(left, bottom, right, bottom, 'class="axis"')
    picture.text((left + right) / 2, bottom + 40, "flows", "small middle")

    ends = []
    for i, (name, dashed, points) in enumerate(series):
        color, dash = COLORS[i % len(COLORS)], ' stroke-dasharray="6 4"' if dashed else ""
        picture.path([(x_of(x), y_of(y)) for x, y, _, _ in points], f'stroke="{color}"{dash}')
        for x, y, least, greatest in points:
            picture.line(x_of(x), y_of(least), x_of(x), y_of(greatest), f'stroke="{color}" stroke-opacity="0.5"')
            picture.dot(x_of(x), y_of(y), color)
        ends.append((y_of(points[-1][1]), name, color, x_of(points[-1][0])))
    for (y, name, color, x), label in zip(sorted(ends), _apart([end[0] for end in sorted(ends)], 18, bottom)):
        picture.line(x + 6, y, right + 12, label, f'stroke="{color}" stroke-opacity="0.6"')
        picture.text(right + 16, label + 4, name)
    return str(picture)


def bars(title, subtitle, groups, shades, unit):
    """`groups`: (name, is other, [(median, least, most) for each shade, or None]). Longer is more."""
    left, right, top, thick = 52 + 7.2 * max(len(name) for name, *_ in groups), WIDTH - 90, 92, 15
    step = thick * len(shades) + 16
    picture = Picture(title, subtitle, top + step * len(groups) + 46)
    most = max(value[2] for *_, values in groups for value in values if value)
    ticks = _ticks(most)
    x_of = lambda x: left + x / ticks[-1] * (right - left)  # noqa: E731
    bottom = top + step * len(groups)
    for tick in ticks:
        picture.line(x_of(tick), top - 6, x_of(tick), bottom, 'class="grid"')
        picture.text(x_of(tick), bottom + 18, f"{tick:,g}", "middle")
    picture.text((left + right) / 2, bottom + 36, unit, "small middle")

    x = left
    for shade, color in zip(shades, SHADES) if len(shades) > 1 else ():
        picture.bar(x, 64, 12, 12, color)
        picture.text(x + 18, 75, shade, "small")
        x += 40 + 7.2 * len(shade)
    for row, (name, is_other, values) in enumerate(groups):
        y = top + row * step
        picture.text(left - 12, y + thick * len(shades) / 2 + 5, name, "end")
        for i, value in enumerate(values):
            _bar(picture, x_of, left, y + i * thick, thick - 2, (OTHERS if is_other else SHADES)[i - len(shades)], value)
    return str(picture)


def _bar(picture, x_of, left, y, thick, color, value):
    if value is None:
        picture.text(left + 6, y + thick - 2, "failed", "small")
        return
    median, least, most = value
    picture.bar(left, y, x_of(median) - left, thick, color)
    picture.line(x_of(least), y + thick / 2, x_of(most), y + thick / 2, 'stroke="#111" stroke-opacity="0.6"')
    picture.text(max(x_of(most), x_of(median)) + 6, y + thick - 2, f"{median:,.3g}" if median < 1e3 else f"{median:,.0f}", "small")


def _ticks(most):
    """From 0 to the first round number that is not below `most`."""
    size = 10 ** floor(log10(most)) if most > 0 else 1
    step = next(step for step in (size / 5, size / 2, size, size * 2) if most / step <= 7)
    return [step * i for i in range(int(most / step + 0.999) + 1)]


def _flows(count):
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count // size}{letter}"
    return f"{count}"


def _apart(wanted, least, limit):
    """Places in the same order, `least` apart from each other and as near to `wanted` as a push down and up allows."""
    places = []
    for place in wanted:
        places.append(max(place, places[-1] + least) if places else place)
    for i in reversed(range(len(places))):
        below = places[i + 1] - least if i + 1 < len(places) else limit
        places[i] = min(places[i], below)
    return places
