"""`start`: `up` on data that is there, until it is ready."""

from __future__ import annotations

from benchmarks.findings.figures import Figure, Result, spread
from benchmarks.harness.stage import Stage
from benchmarks.scenarios.populated import full_system

TITLE = "start of `up` on existing data"
ROUNDS = 2


def run(stage: Stage) -> Result:
    """The full system, ended in order and started again."""
    result = Result(scenario="start", title=TITLE)
    full = full_system(stage)
    times: list[float] = []
    for _ in range(ROUNDS):
        full.stop()
        times.append(full.start())
        stage.told(f"  ready after {times[-1]:.2f} s")
    held = f"{stage.options.skus:,} SKUs, {stage.options.holds:,} live holds"
    result.figures.append(Figure("start to ready", "s", spread(times), "start", note=held))
    return result
