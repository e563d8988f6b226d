"""`batch`: a hundred holds a call, for backends that ask for many shoppers at once."""

from __future__ import annotations

from msgspec.structs import replace

from benchmarks.findings.figures import Result, Turn, paired, ratio
from benchmarks.harness.stage import HOT, Stage, hold_step, note_limits, sku_name
from benchmarks.harness.turns import Contender, in_turns
from benchmarks.load.outcome import Outcome
from benchmarks.load.plan import Step

TITLE = "batch endpoint, 100 holds a call"
GROUP = "batch"
HOLDS = 100
CONNECTIONS = 16
SINGLE = "noop, single"


def batch_step(sku: str, holds: int = HOLDS, ttl_s: int | None = None) -> Step:
    """A call that asks for so many holds."""
    ttl = "" if ttl_s is None else f',"ttl_s":{ttl_s}'
    hold = f'{{"lines":[{{"sku":"{sku}","quantity":1}}]{ttl}}}'
    return Step("batch", "/api/v1/holds/batch", f'{{"holds":[{",".join([hold] * holds)}]}}', granted=200)


def run(stage: Stage) -> Result:
    """Holds, over requests of `noop` for one hold each; and over holds of its own batch route."""
    result = Result(scenario="batch", title=TITLE, counted="holds")
    holdfast, noop = stage.stocked(GROUP), stage.peer("noop")
    batches = stage.plan(batch_step(sku_name(GROUP)), connections=CONNECTIONS)
    singles = stage.plan(hold_step(sku_name(HOT)))

    def take(contender: Contender) -> Turn:
        turn, _ = stage.turn(contender, batches, GROUP, count=holds_of, units=HOLDS)
        stage.told(f"  {turn.contender:<16} {turn.rate:>10,.0f} holds/s")
        return turn

    def take_single() -> Turn:
        turn, _ = stage.turn(noop, singles, HOT)
        stage.told(f"  {SINGLE:<16} {turn.rate:>10,.0f} holds/s")
        return replace(turn, contender=SINGLE)

    result.turns = in_turns([lambda: take(holdfast), take_single, lambda: take(noop)], stage.options.rounds)
    note_limits(result)
    ours = result.rates("holdfast")
    result.figures = [
        ratio("holds, over noop requests", paired(ours, result.rates(SINGLE)), "batch"),
        ratio("holds, over noop's batch route", paired(ours, result.rates("noop"))),
    ]
    return result


def holds_of(outcome: Outcome) -> int:
    return outcome.done * HOLDS
