"""Charts as SVG: lines with axes, ticks and a legend, readable on white and on dark pages, and small."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from benchmarks.findings.figures import Chart

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 64, 52
COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#64473a")
MAX_TICKS = 7
MAX_POINTS = 400
MARKED_POINTS = 30
LEGEND_STEP = 112
FONT = "font-family='system-ui, sans-serif' font-size='12' fill='#333'"
REFERENCE = "noop"
"""Lines that begin with this are dashed: what the others are held against."""

Point = tuple[float, float]


class Axis:
    """Values on a line: linear from 0, or logarithmic; up to the greatest, or with `whole` to the tick after it."""

    def __init__(self, values: Sequence[float], *, log: bool, whole: bool, start: float, end: float) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive), max(positive)
        self._log, self._start, self._end = log, start, end
        if log:
            self._low, self._high = math.log10(low), math.log10(high)
            if whole:
                self._low, self._high = math.floor(self._low), math.ceil(self._high)
            self._high = max(self._high, self._low + 1)
            self.ticks = [10.0**power for power in range(math.ceil(self._low), math.floor(self._high) + 1)]
        else:
            step = nice_step(high)
            self._low, self._high = 0.0, math.ceil(high / step) * step if whole else high
            self.ticks = [step * number for number in range(math.floor(self._high / step + 0.001) + 1)]

    def place(self, value: float) -> float:
        """Where a value is, in pixels; what a logarithm cannot show is at the low end."""
        at = (math.log10(value) if value > 0 else self._low) if self._log else value
        share = (max(at, self._low) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)


def nice_step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that a few ticks reach `highest`."""
    power = 10.0 ** math.floor(math.log10(highest / MAX_TICKS))
    return next(step * power for step in (1, 2, 5, 10) if highest / (step * power) <= MAX_TICKS)


def draw(chart: Chart) -> str:
    """The whole picture."""
    points = [point for line in chart.lines.values() for point in line]
    across = Axis([x for x, _ in points], log=chart.log_x, whole=False, start=LEFT, end=WIDTH - RIGHT)
    up = Axis([y for _, y in points], log=chart.log_y, whole=True, start=HEIGHT - BOTTOM, end=TOP)
    ticks = _x_ticks(chart) if chart.log_x else across.ticks
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' {FONT}>",
        f"<title>{escape(chart.title)}</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' rx='6' fill='#fff'/>",
        _text(LEFT, 24, chart.title, "font-weight='600' font-size='15'"),
        *(_grid(up.place(tick), _number(tick)) for tick in up.ticks),
        *(_x_tick(across.place(tick), _number(tick)) for tick in ticks),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, chart.x_label, "text-anchor='middle'"),
        _text(16, (TOP + HEIGHT - BOTTOM) / 2, chart.y_label, "text-anchor='middle'", turned=True),
    ]
    for number, (name, line) in enumerate(chart.lines.items()):
        parts += _line(number, name, thin(line), across.place, up.place)
    return "\n".join([*parts, "</svg>", ""])


def thin(line: Sequence[Point]) -> Sequence[Point]:
    """At most as many points as can be seen; of those that share a place, the highest."""
    if len(line) <= MAX_POINTS:
        return line
    size = math.ceil(len(line) / MAX_POINTS)
    return [max(line[start : start + size], key=lambda point: point[1]) for start in range(0, len(line), size)]


def _line(
    number: int, name: str, line: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]
) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    path = " ".join(f"{x(across):.1f},{y(up):.1f}" for across, up in line)
    legend = LEFT + number * LEGEND_STEP
    dash = " stroke-dasharray='6 4'" if name.startswith(REFERENCE) else ""
    parts = [
        f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.8' stroke-linejoin='round'{dash}/>",
        f"<rect x='{legend}' y='38' width='14' height='4' fill='{colour}'/>",
        _text(legend + 20, 44, name),
    ]
    if len(line) <= MARKED_POINTS:
        parts += [f"<circle cx='{x(across):.1f}' cy='{y(up):.1f}' r='3' fill='{colour}'/>" for across, up in line]
    return parts


def _x_ticks(chart: Chart) -> list[float]:
    """Where a logarithm stretches the axis, the values that were measured say more than powers of ten."""
    return sorted({x for line in chart.lines.values() for x, _ in line})


def _grid(y: float, label: str) -> str:
    line = f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>"
    return line + _text(LEFT - 8, y + 4, label, "text-anchor='end'")


def _x_tick(x: float, label: str) -> str:
    y = HEIGHT - BOTTOM
    line = f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{y}' y2='{y + 5}' stroke='#999'/>"
    return line + _text(x, y + 18, label, "text-anchor='middle'")


def _text(x: float, y: float, words: str, more: str = "", *, turned: bool = False) -> str:
    turn = f" transform='rotate(-90 {x:.1f} {y:.1f})'" if turned else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' {more}{turn}>{escape(words)}</text>"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 and value == round(value) else f"{value:g}"
