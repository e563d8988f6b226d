"""`zipf`: 10,000 SKUs, the second half as much wanted as the first, the third a third, and so on."""

from __future__ import annotations

import random
from itertools import accumulate

from benchmarks.findings.figures import Result, paired, ratio
from benchmarks.harness.stage import Stage, hold_step, sku_name
from benchmarks.harness.turns import Contender
from benchmarks.load.plan import CHOICE

TITLE = "holds on 10,000 SKUs, Zipf"
GROUP = "zipf"
SKUS = 10_000
CHOICES = 50_000
SEED = 1949  # the year of Zipf's book


def run(stage: Stage) -> Result:
    """Beside `row_lock`, whose buyers of different SKUs do not wait for each other."""
    result = Result(scenario="zipf", title=TITLE, counted="holds")
    holdfast = stage.stocked(GROUP, SKUS)
    contenders: list[Contender] = [holdfast, stage.peer("row_lock", GROUP, SKUS)]
    stage.duel(result, contenders, stage.plan(hold_step(CHOICE), choices=choices()), GROUP)
    stage.remove_peers("row_lock")
    found = paired(result.rates("holdfast"), result.rates("row_lock"))
    result.figures.append(ratio("holds, over row_lock", found, "zipf"))
    return result


def choices() -> tuple[str, ...]:
    """SKUs in the order in which they are asked for; the same in every run."""
    chance = random.Random(SEED)
    weights = list(accumulate(1 / rank for rank in range(1, SKUS + 1)))
    ranks = chance.choices(range(SKUS), cum_weights=weights, k=CHOICES)
    return tuple(sku_name(GROUP, rank) for rank in ranks)
