"""`hot`: everybody wants one SKU, and there is enough of it."""

from __future__ import annotations

from benchmarks.findings.figures import Result, paired, ratio
from benchmarks.harness.stage import HOT, Stage, hold_step, note_refusals, sku_name
from benchmarks.harness.turns import Contender

TITLE = "holds on one hot SKU"


def run(stage: Stage) -> Result:
    """All peers beside Holdfast, in turns."""
    result = Result(scenario="hot", title=TITLE, counted="holds")
    holdfast = stage.stocked(HOT)
    contenders: list[Contender] = [holdfast, *(stage.peer(name) for name in stage.options.against)]
    stage.duel(result, contenders, stage.plan(hold_step(sku_name(HOT))), HOT)
    stage.keep_maximum(result)
    note_refusals(result)
    stage.remove_peers("per_request_lua")  # the others go on in `concurrency`, which comes next
    ours = result.rates("holdfast")
    for name in stage.options.against:
        target = {"noop": "hot", "row_lock": "hot_row_lock", "unit_rows": "hot_unit_rows"}.get(name)
        result.figures.append(ratio(f"holds, over {name}", paired(ours, result.rates(name)), target))
    return result
