"""Scenarios: one file each, in the order in which all of them run."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.findings.figures import Result
from benchmarks.harness.stage import Stage
from benchmarks.scenarios import (
    batch,
    cart,
    commit,
    concurrency,
    flush,
    hot,
    lag,
    latency,
    memory,
    populated,
    rebuild,
    script_rate,
    sold_out,
    spike,
    start,
    zipf,
)

SCENARIOS: dict[str, tuple[str, Callable[[Stage], Result]]] = {
    "hot": (hot.TITLE, hot.run),
    "concurrency": (concurrency.TITLE, concurrency.run),
    "zipf": (zipf.TITLE, zipf.run),
    "sold_out": (sold_out.TITLE, sold_out.run),
    "commit": (commit.TITLE, commit.run),
    "cart": (cart.TITLE, cart.run),
    "batch": (batch.TITLE, batch.run),
    "spike": (spike.TITLE, spike.run),
    "latency": (latency.TITLE, latency.run),
    "lag": (lag.TITLE, lag.run),
    "flush": (flush.TITLE, flush.run),
    "script_rate": (script_rate.TITLE, script_rate.run),
    "memory": (memory.TITLE, memory.run),
    "rebuild": (rebuild.TITLE, rebuild.run),
    "populated": (populated.TITLE, populated.run),
    "start": (start.TITLE, start.run),
}
