"""`concurrency`: holds on one hot SKU with more and more connections, and what fewer of them are worth beside peers."""

from __future__ import annotations

from msgspec.structs import replace

from benchmarks.findings.figures import Chart, Result, paired, ratio, spread
from benchmarks.harness.stage import HOT, Stage, hold_step, note_limits, note_refusals, sku_name
from benchmarks.harness.turns import Contender

TITLE = "throughput by concurrency"
CONNECTIONS = (1, 8, 64, 256)
CLOSER = 64
"""Connections at which ratios are told, from as many turns of each as count elsewhere; the others are for the chart."""
PEERS = ("noop", "row_lock", "unit_rows")
SECONDS = 1.0


def run(stage: Stage) -> Result:
    """In turns at each number of connections; none is thrown away, as the first ones warm up for those that count."""
    result = Result(scenario="concurrency", title=TITLE, counted="holds")
    peers = [name for name in PEERS if name in stage.options.against]
    contenders: list[Contender] = [stage.stocked(HOT), *(stage.peer(name) for name in peers)]
    for connections in CONNECTIONS:
        plan = stage.plan(hold_step(sku_name(HOT)), connections=connections, seconds=SECONDS)
        for _ in range(stage.options.rounds - 1 if connections == CLOSER else 1):
            for contender in contenders:
                turn, _ = stage.turn(contender, plan, HOT)
                result.turns.append(replace(turn, contender=_at(connections, contender.name)))
                stage.told(f"  {turn.contender:<16} {connections:>4} connections {turn.rate:>10,.0f} holds/s")
    stage.remove_peers("row_lock", "unit_rows")
    note_limits(result)
    note_refusals(result)
    ours = result.rates(_at(CLOSER, "holdfast"))
    for name in peers:
        found = paired(ours, result.rates(_at(CLOSER, name)))
        result.figures.append(ratio(f"holds at {CLOSER} connections, over {name}", found))
    lines = {
        "Holdfast" if name == "holdfast" else name: [
            (float(connections), spread(result.rates(_at(connections, name))).value) for connections in CONNECTIONS
        ]
        for name in ("holdfast", *peers)
    }
    title = "Holds on one hot SKU by connections"
    result.charts.append(Chart("concurrency", title, "connections", "holds a second", lines, log_x=True))
    return result


def _at(connections: int, name: str) -> str:
    """A contender with so many connections is a line of its own."""
    return f"{name}, {connections} connection{'s' if connections > 1 else ''}"
