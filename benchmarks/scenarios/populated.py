"""`populated`: holds on one hot SKU in a system full of SKUs and live holds, over an empty one."""

from __future__ import annotations

import random

from msgspec.structs import replace

from benchmarks.findings.figures import Result, Turn, paired, ratio
from benchmarks.harness.children import HarnessError
from benchmarks.harness.holdfast import Holdfast, fresh_prefix
from benchmarks.harness.stage import HOT, UNITS, Stage, hold_step, note_limits, sku_name
from benchmarks.harness.turns import in_turns
from benchmarks.load.plan import CHOICE, KEY, Plan, Step
from benchmarks.load.run import run as run_load

TITLE = "holds in a full system, over an empty one"
GROUP = "full"
FULL, EMPTY = "full", "empty"
TTL_S = 3_600
SEED = 7
LONG_HOLD = Step(
    "hold",
    "/api/v1/holds",
    f'{{"lines":[{{"sku":"{CHOICE}","quantity":1}}],"customer_id":"{KEY}","ttl_s":{TTL_S}}}',
)


def run(stage: Stage) -> Result:
    """Two systems in turns."""
    result = Result(scenario="populated", title=TITLE, counted="holds")
    full = full_system(stage)
    full.receive_once(HOT, [sku_name(HOT)], UNITS)
    contenders = {FULL: full, EMPTY: stage.stocked(HOT, system=EMPTY)}
    plan = stage.plan(hold_step(sku_name(HOT)))

    def take(name: str) -> Turn:
        turn, _ = stage.turn(contenders[name], plan, HOT)
        stage.told(f"  {name:<16} {turn.rate:>10,.0f} holds/s")
        return replace(turn, contender=name)

    result.turns = in_turns([lambda: take(FULL), lambda: take(EMPTY)], stage.options.rounds)
    note_limits(result)
    found = paired(result.rates(FULL), result.rates(EMPTY))
    result.figures.append(ratio("holds, over an empty system", found, "populated", note=_described(stage)))
    result.broken += stage.system(EMPTY).broken_promises()
    stage.remove_system(EMPTY)
    return result


def full_system(stage: Stage) -> Holdfast:
    """A system with as many SKUs and live holds as the options say, by itself on the stage."""
    stage.leave_only(FULL)
    system = stage.system(FULL)
    if GROUP not in system.books.groups:
        stage.told(f"filling it: {_described(stage)}")
        system.receive(GROUP, [sku_name(GROUP, number) for number in range(stage.options.skus)], UNITS)
        before = system.redis_info()["used_memory"]
        run_to_end(system, hold_plan(stage, stage.options.holds), GROUP)
        system.settle()
        system.bytes_a_hold = (system.redis_info()["used_memory"] - before) / stage.options.holds
    return system


def hold_plan(stage: Stage, holds: int) -> Plan:
    """Holds spread over all SKUs of the full system."""
    skus = [sku_name(GROUP, number) for number in range(stage.options.skus)]
    random.Random(SEED).shuffle(skus)
    return stage.plan(LONG_HOLD, choices=tuple(skus), limit=holds)


def run_to_end(system: Holdfast, plan: Plan, group: str) -> None:
    """Send all of a plan. Raises HarnessError when anything is refused."""
    outcome = run_load(plan.against(system.url, fresh_prefix(), system.headers))
    system.books.note(group, granted=outcome.granted[0], unheard=outcome.faults)
    if outcome.refused or outcome.faults:
        raise HarnessError(f"{outcome.refused} holds were refused ({outcome.statuses}), {outcome.faults} unanswered")


def _described(stage: Stage) -> str:
    return f"{stage.options.skus:,} SKUs, {stage.options.holds:,} live holds"
