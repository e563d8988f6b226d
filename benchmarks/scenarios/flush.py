"""`flush`: how fast PostgreSQL catches up with a backlog while holds go on being made as fast as they can be."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from msgspec import Struct

from benchmarks.findings.figures import Chart, Result, ratio, spread
from benchmarks.harness.event_log import Sample
from benchmarks.harness.holdfast import Holdfast, fresh_prefix
from benchmarks.harness.stage import HOT, Stage, hold_step, sku_name
from benchmarks.load.run import Load
from benchmarks.queries import read_queries

TITLE = "flush of a backlog, holds going on"
COPIED_ROWS = 200_000
CAUGHT_UP = 0.05
"""The backlog counts as drained when this share of it is left."""
SQL = Path(__file__).with_name("flush.sql")


class Drain(Struct, frozen=True):
    """What became of a backlog: events that were in it, that are left, and that were drained and accepted meanwhile."""

    backlog: int
    left: int
    drained: int
    accepted: int
    seconds: float

    @classmethod
    def of(cls, samples: list[Sample]) -> Drain:
        """By the first and the last sample."""
        first, last = samples[0], samples[-1]
        return cls(
            backlog=first.made - first.applied,
            left=last.made - last.applied,
            drained=last.applied - first.applied,
            accepted=last.made - first.made,
            seconds=max(last.at_s - first.at_s, 0.001),
        )


def run(stage: Stage) -> Result:
    """Once a round the workers are held still while a backlog grows; then they go on, with the load."""
    result = Result(scenario="flush", title=TITLE, counted="events")
    holdfast = stage.stocked(HOT)
    stage.measured_maximum()
    _, *rounds = [_drain_once(stage, holdfast) for _ in range(stage.options.rounds)]
    drains = [Drain.of(draining(samples)) for samples in rounds]
    copied = asyncio.run(_copy_rate(holdfast))
    drained_a_second = spread([drain.drained / drain.seconds for drain in drains])
    accepted_a_second = spread([drain.accepted / drain.seconds for drain in drains])
    told = f"{drained_a_second.value:,.0f} drained, {accepted_a_second.value:,.0f} accepted a second"
    over_accepted = spread([drain.drained / max(drain.accepted, 1) for drain in drains])
    over_copied = spread([drain.drained / drain.seconds / copied for drain in drains])
    result.figures = [
        ratio("events drained, over accepted", over_accepted, "flush", note=told),
        ratio("events drained a second, over rows of plain COPY", over_copied),
    ]
    backlog = max(drain.backlog for drain in drains)
    result.notes.append(f"backlogs of up to {backlog:,} events; plain COPY: {copied:,.0f} rows a second")
    if any(drain.left > drain.backlog * CAUGHT_UP for drain in drains):
        result.notes.append("a backlog was not drained while holds went on")
    first = rounds[-1][0]
    points = [(sample.at_s - first.at_s, float(sample.made - sample.applied)) for sample in rounds[-1]]
    result.charts.append(
        Chart("flush", "Backlog while it is drained and holds go on", "seconds", "events", {"backlog": points})
    )
    return result


def _drain_once(stage: Stage, holdfast: Holdfast) -> list[Sample]:
    """What the log looked like from the moment on at which the workers went on; it is drained in the end."""
    grow_s = stage.options.seconds
    plan = stage.plan(hold_step(sku_name(HOT)), seconds=grow_s * 3).against(
        holdfast.url, fresh_prefix(), holdfast.headers
    )
    with Load(plan, bundled=stage.options.bundled) as load:
        with holdfast.without_workers():
            time.sleep(grow_s)
        samples = holdfast.watch(lambda last: load.is_running and last.applied < last.made, every_s=0.02)
        outcome = load.finish()
    holdfast.books.note(HOT, granted=outcome.granted[0], unheard=plan.connections)
    holdfast.settle()
    return samples


def draining(samples: list[Sample]) -> list[Sample]:
    """The samples from the first one until nearly all of the backlog is gone, or to the end."""
    backlog = samples[0].made - samples[0].applied
    for place, sample in enumerate(samples):
        if sample.made - sample.applied <= backlog * CAUGHT_UP:
            return samples[: place + 1]
    return samples


async def _copy_rate(holdfast: Holdfast) -> float:
    """Rows of a ledger's shape that plain COPY writes a second, into a table without any index."""
    sql = read_queries(SQL)
    at = datetime.now(UTC)
    rows = [(sku_name(HOT), 0, 1, number, "reserve", -1, 1, 0, None, None, at) for number in range(COPIED_ROWS)]
    connection = await asyncpg.connect(holdfast.runtime.database_url)
    try:
        await connection.execute(sql["make_table"])
        began = time.perf_counter()
        await connection.copy_records_to_table("copied", records=rows)
        return COPIED_ROWS / (time.perf_counter() - began)
    finally:
        await connection.execute(sql["drop_table"])
        await connection.close()
