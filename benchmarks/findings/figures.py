"""Figures: ratios of turns that were taken side by side, and what each is held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from msgspec import Struct, field

TIMES = "×"  # noqa: RUF001 - how a ratio is written


class Target(Struct, frozen=True):
    """What a figure shall be at least, or with `is_ceiling` at most; and what is aimed at."""

    what: str
    unit: str
    least: float
    aim: float
    is_ceiling: bool = False


class Spread(Struct, frozen=True):
    """The median of some values, and the least and the greatest of them."""

    value: float
    low: float
    high: float


class Figure(Struct, frozen=True):
    """One measured value; `target` is the key of what it is held against, if anything. Units come last in a table."""

    what: str
    unit: str
    spread: Spread
    target: str | None = None
    note: str = ""


class Chart(Struct, frozen=True):
    """Lines to be drawn: a name, and points (x, y)."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: dict[str, list[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False


class Turn(Struct, frozen=True, kw_only=True):
    """One turn of one contender. `rate` is work done a second, `cpu_us` what a unit of it cost each role."""

    contender: str
    rate: float
    seconds: float
    granted: list[int]
    refused: int
    faults: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us: dict[str, float]
    client: str
    client_busy: float
    settled_s: float = 0.0


class Result(Struct, kw_only=True):
    """What a scenario found; `broken` are promises that did not hold, `counted` what a rate is of."""

    scenario: str
    title: str
    counted: str = ""
    figures: list[Figure] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def rates(self, contender: str) -> list[float]:
        """The rates of all its turns, in order."""
        return [turn.rate for turn in self.turns if turn.contender == contender]


def ratio(what: str, found: Spread, target: str | None = None, note: str = "") -> Figure:
    """A figure that says how many times as much it is."""
    return Figure(what, TIMES, found, target, note)


def spread(values: Sequence[float]) -> Spread:
    """Of one value or more."""
    return Spread(statistics.median(values), min(values), max(values))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The ratios of turns that followed each other: what slows both of a pair down is not in them."""
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} turns cannot be paired with {len(theirs)}")
    return spread([one / other if other else 0.0 for one, other in zip(ours, theirs, strict=True)])
