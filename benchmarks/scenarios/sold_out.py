"""`sold_out`: what is left is gone in a moment, and nearly everybody has to be told so."""

from __future__ import annotations

from benchmarks.findings.figures import Result, paired, ratio
from benchmarks.harness.stage import Stage, hold_step, sku_name
from benchmarks.harness.turns import Contender
from benchmarks.load.outcome import Outcome

TITLE = "refusals when sold out"
GROUP = "gone"  # `noop` refuses what begins like this
SHARE = 0.01


def run(stage: Stage) -> Result:
    """About one request in a hundred of the first turn is granted, then none."""
    result = Result(scenario="sold_out", title=TITLE, counted="refusals")
    units = round(stage.measured_maximum() * stage.options.seconds * stage.options.rounds * SHARE)
    contenders: list[Contender] = [stage.stocked(GROUP, units=units), stage.peer("noop")]
    stage.duel(result, contenders, stage.plan(hold_step(sku_name(GROUP))), GROUP, count=refused)
    result.figures.append(
        ratio("refusals, over noop", paired(result.rates("holdfast"), result.rates("noop")), "sold_out")
    )
    granted = stage.system().books.groups[GROUP].granted
    result.notes.append(f"{units} units, {granted} of them heard to be granted")
    return result


def refused(outcome: Outcome) -> int:
    return outcome.refused
