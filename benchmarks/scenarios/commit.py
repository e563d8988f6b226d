"""`commit`: each shopper holds one unit, and buys it at once."""

from __future__ import annotations

from benchmarks.findings.figures import Result, paired, ratio
from benchmarks.harness.stage import Stage, hold_step, sku_name
from benchmarks.harness.turns import Contender
from benchmarks.load.plan import ID, KEY, Step

TITLE = "hold + commit pairs"
GROUP = "bought"
COMMIT = Step("commit", f"/api/v1/holds/{ID}/commit", f'{{"reference":"order-{KEY}"}}', granted=200)


def run(stage: Stage) -> Result:
    """Pairs, over pairs of `noop`."""
    result = Result(scenario="commit", title=TITLE, counted="pairs")
    contenders: list[Contender] = [stage.stocked(GROUP), stage.peer("noop")]
    stage.duel(result, contenders, stage.plan(hold_step(sku_name(GROUP)), COMMIT), GROUP)
    found = paired(result.rates("holdfast"), result.rates("noop"))
    result.figures.append(ratio("pairs, over noop", found, "commit"))
    return result
