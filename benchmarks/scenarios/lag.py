"""`lag`: how old the oldest hold is that PostgreSQL does not know yet, while holds run at 70 % of the maximum."""

from __future__ import annotations

from benchmarks.findings.figures import Chart, Figure, Result, spread
from benchmarks.harness.event_log import lags
from benchmarks.harness.holdfast import fresh_prefix
from benchmarks.harness.stage import HOT, Stage, hold_step, sku_name
from benchmarks.load.histogram import Histogram
from benchmarks.load.run import Load

TITLE = "flush lag at 70 % of maximum"
SHARE = 0.7
LONGER = 4
"""So many turns long."""
CONNECTIONS = 256
PERCENTILES = (50, 99, 100)


def run(stage: Stage) -> Result:
    """The log is looked at fifty times a second, by Redis' count of events and PostgreSQL's offset."""
    result = Result(scenario="lag", title=TITLE, counted="holds")
    rate = stage.measured_maximum() * SHARE
    holdfast = stage.stocked(HOT)
    plan = stage.plan(
        hold_step(sku_name(HOT)), rate=rate, connections=CONNECTIONS, seconds=stage.options.seconds * LONGER
    ).against(holdfast.url, fresh_prefix(), holdfast.headers)
    with Load(plan) as load:
        samples = holdfast.watch(lambda _: load.is_running, every_s=0.02)
        outcome = load.finish()
    holdfast.books.note(HOT, granted=outcome.granted[0], unheard=outcome.faults)
    while len(samples) > 1 and samples[1].made == samples[0].made:  # the client is only starting
        samples.pop(0)
    found = lags(samples)
    histogram = Histogram()
    histogram.add_seconds(lag_s for _, lag_s in found)
    for percent in PERCENTILES:
        name, value = ("longest" if percent == 100 else f"p{percent}"), histogram.percentile_ms(percent) / 1000  # noqa: PLR2004
        target = "lag" if percent == 99 else None  # noqa: PLR2004 - as the target says
        result.figures.append(Figure(f"lag, {name}", "s", spread([value]), target, note=f"{rate:,.0f} holds/s"))
    result.charts.append(
        Chart(
            "lag", "Flush lag at 70 % of the maximum", "seconds", "ms", {"lag": [(at, lag * 1000) for at, lag in found]}
        )
    )
    if outcome.refused or outcome.faults:
        result.broken.append(f"{outcome.refused} holds were refused, {outcome.faults} had no answer")
    return result
