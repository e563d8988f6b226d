"""`concurrency`: holds on one hot SKU with more and more connections, for the chart."""

from __future__ import annotations

from benchmarks.findings.figures import Chart, Result
from benchmarks.harness.stage import HOT, Stage, hold_step, note_limits, sku_name
from benchmarks.harness.turns import Contender

TITLE = "throughput by concurrency"
CONNECTIONS = (1, 8, 64, 256)


def run(stage: Stage) -> Result:
    """Beside `noop`, one turn each."""
    result = Result(scenario="concurrency", title=TITLE, counted="holds")
    contenders: list[Contender] = [stage.stocked(HOT), stage.peer("noop")]
    lines: dict[str, list[tuple[float, float]]] = {"Holdfast": [], "noop": []}
    for connections in CONNECTIONS:
        plan = stage.plan(hold_step(sku_name(HOT)), connections=connections, seconds=1.0)
        for contender, line in zip(contenders, lines.values(), strict=True):
            turn, _ = stage.turn(contender, plan, HOT)
            result.turns.append(turn)
            line.append((connections, turn.rate))
            stage.told(f"  {turn.contender:<16} {connections:>4} connections {turn.rate:>10,.0f} holds/s")
    note_limits(result)
    title = "Holds on one hot SKU by connections"
    result.charts.append(Chart("concurrency", title, "connections", "holds a second", lines, log_x=True))
    return result
