"""`spike`: a whole drop. A thousand units, and shoppers arrive at a stated rate whether or not anybody answers them."""

from __future__ import annotations

from benchmarks.findings.figures import Figure, Result, spread
from benchmarks.harness.holdfast import fresh_prefix
from benchmarks.harness.stage import Stage, hold_step, sku_name
from benchmarks.load.outcome import Outcome
from benchmarks.load.run import Load
from benchmarks.scenarios.commit import COMMIT

TITLE = "a drop: 1,000 units, until all are sold and in PostgreSQL"
GROUP = "spike"
UNITS = 1_000
SECONDS = 3.0
CONNECTIONS = 256
EVENTS_EACH = 2  # a hold and its commit; refusals make no events


def run(stage: Stage) -> Result:
    """Open-loop: each shopper's wait is counted from the moment of the arrival."""
    rate = stage.options.arrivals
    result = Result(scenario="spike", title=TITLE, counted="shoppers")
    holdfast = stage.stocked(GROUP, units=UNITS)
    plan = stage.plan(hold_step(sku_name(GROUP)), COMMIT, rate=rate, seconds=SECONDS, connections=CONNECTIONS).against(
        holdfast.url, fresh_prefix(), holdfast.headers
    )
    begun = holdfast.watch(lambda _: False)[0].made
    with Load(plan) as load:
        samples = holdfast.watch(lambda _: load.is_running, every_s=0.01)
        outcome = load.finish()
    samples += holdfast.watch(lambda last: last.applied < last.made, every_s=0.01)
    holdfast.books.note(GROUP, granted=outcome.granted[0], sold=outcome.granted[1], unheard=outcome.faults)
    end = begun + EVENTS_EACH * UNITS
    made_s = next((sample.at_s for sample in samples if sample.made >= end), samples[-1].at_s)
    applied_s = next((sample.at_s for sample in samples if sample.applied >= end), samples[-1].at_s)
    result.figures = _figures(rate, outcome, max(applied_s - made_s, 0.0))
    if outcome.granted != [UNITS, UNITS]:
        result.broken.append(f"{UNITS} units: {outcome.granted[0]} granted, {outcome.granted[1]} sold")
    if outcome.faults:
        result.broken.append(f"{outcome.faults} shoppers had no answer")
    return result


def _figures(rate: float, outcome: Outcome, flushed_s: float) -> list[Figure]:
    holds = outcome.latency[0]
    told = [
        ("arrivals", "/s", rate),
        ("shoppers", "", float(outcome.granted[0] + outcome.refused + outcome.faults)),
        ("all units held after", "s", outcome.times_s[0][1]),
        ("all units sold after", "s", outcome.times_s[1][1]),
        ("the last sale in PostgreSQL, after it was made", "s", flushed_s),
        ("a shopper's answer, p50", "ms", holds.percentile_ms(50)),
        ("a shopper's answer, p99", "ms", holds.percentile_ms(99)),
        ("a shopper's answer, p99.9", "ms", holds.percentile_ms(99.9)),
    ]
    return [Figure(what, unit, spread([value])) for what, unit, value in told]
