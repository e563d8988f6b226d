"""`latency`: holds at a constant arrival rate, each timed from the moment at which it was due.

Beside `noop`, which writes nothing, and `group_commit`, which only waits for Redis' synced log. On a system of its own,
since what the scenarios before it wrote is vacuumed and checkpointed for minutes.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from benchmarks.findings.figures import Chart, Figure, Result, Spread, Turn, paired, ratio, spread
from benchmarks.harness.stage import HOT, Stage, hold_step, note_limits, sku_name
from benchmarks.harness.turns import Contender, in_turns

TITLE = "hold latency, open-loop"
CONNECTIONS = 256
HALF = 0.5
OTHER_LOADS = (0.1, 0.3, 0.7, 0.9)
"""Shares of the maximum; what is held against a target is taken at half of it, in turns."""

SHOWN = {"p50_ms": "p50", "p99_ms": "p99", "p999_ms": "p99.9"}
DRAWN = {"Holdfast": tuple(SHOWN), "noop": ("p50_ms", "p99_ms"), "group_commit": ("p99_ms",)}
"""What the chart shows of each contender, in their order: more lines than six cannot be told apart."""


def run(stage: Stage) -> Result:
    """Percentiles at half of the maximum beside both peers at the same rate; then at other loads, for the chart."""
    result = Result(scenario="latency", title=TITLE, counted="holds")
    maximum = stage.measured_maximum()
    stage.leave_only(None)
    contenders: list[Contender] = [stage.stocked(HOT), stage.peer("noop"), stage.peer("group_commit")]

    def take(contender: Contender, share: float) -> Turn:
        plan = stage.plan(
            hold_step(sku_name(HOT)), rate=maximum * share, connections=CONNECTIONS, seconds=stage.options.seconds
        )
        turn, _ = stage.turn(contender, plan, HOT)
        stage.told(
            f"  {turn.contender:<16} {maximum * share:>10,.0f} holds/s: p50 {turn.p50_ms:.2f} ms, "
            f"p99 {turn.p99_ms:.2f} ms, p99.9 {turn.p999_ms:.2f} ms"
        )
        return turn

    result.turns = in_turns([partial(take, contender, HALF) for contender in contenders], stage.options.rounds)
    note_limits(result)
    ours, nothing, kept = ([turn for turn in result.turns if turn.contender == found.name] for found in contenders)
    result.figures = [
        ratio("p99, over noop at the same rate", _p99(ours, nothing), "latency", note=f"{maximum * HALF:,.0f} holds/s"),
        ratio("p99 of group_commit, over noop at the same rate", _p99(kept, nothing)),
        ratio("p99, over group_commit at the same rate", _p99(ours, kept)),
    ]
    for name, turns in (("holdfast", ours), ("noop", nothing), ("group_commit", kept)):
        for field, percentile in SHOWN.items():
            values = [getattr(turn, field) for turn in turns]
            result.figures.append(Figure(f"{percentile} of {name}", "ms", spread(values)))
    by_load = {share: [take(contender, share) for contender in contenders] for share in OTHER_LOADS} | {
        HALF: [_median(ours), _median(nothing), _median(kept)]
    }
    result.charts.append(_chart(maximum, by_load))
    return result


def _p99(turns: list[Turn], others: list[Turn]) -> Spread:
    return paired([turn.p99_ms for turn in turns], [turn.p99_ms for turn in others])


def _median(turns: list[Turn]) -> Turn:
    return replace(turns[0], **{field: spread([getattr(turn, field) for turn in turns]).value for field in SHOWN})


def _chart(maximum: float, by_load: dict[float, list[Turn]]) -> Chart:
    loads = sorted(by_load)
    lines = {
        f"{name} {SHOWN[field]}": [(share * maximum, getattr(by_load[share][place], field)) for share in loads]
        for place, (name, fields) in enumerate(DRAWN.items())
        for field in fields
    }
    return Chart(
        "latency", "Latency of holds by load, from their intended start", "holds a second", "ms", lines, log_y=True
    )
