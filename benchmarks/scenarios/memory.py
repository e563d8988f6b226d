"""`memory`: what a live hold takes in Redis, and what is left of it once it ended and was forgotten."""

from __future__ import annotations

import time

from benchmarks.findings.figures import Figure, Result, ratio, spread
from benchmarks.harness.children import HarnessError
from benchmarks.harness.cpu import resident_bytes
from benchmarks.harness.holdfast import Holdfast
from benchmarks.harness.stage import UNITS, Stage, sku_name
from benchmarks.load.plan import KEY, Step
from benchmarks.scenarios.populated import full_system, run_to_end

TITLE = "memory"
GROUP = "brief"
FORGETFUL = "forgetful"
RETENTION_S = 5
SETTINGS = {"HOLDFAST_RETENTION_S": str(RETENTION_S)}
BRIEF_HOLD = Step(
    "hold",
    "/api/v1/holds",
    f'{{"lines":[{{"sku":"{sku_name(GROUP)}","quantity":1}}],"customer_id":"{KEY}","ttl_s":1}}',
)
WARM_UP_SHARE = 0.1
FORGOTTEN_S = 600.0
POLL_S = 0.5
STEADY_S = 2.0


def run(stage: Stage) -> Result:
    """Live holds in the full system; brief ones in one that forgets within seconds."""
    result = Result(scenario="memory", title=TITLE, counted="holds")
    full = full_system(stage)
    allocator = str(full.redis_info().get("mem_allocator", "?"))
    result.figures.append(
        Figure(
            "Redis memory a live hold",
            "B",
            spread([full.bytes_a_hold]),
            "memory",
            note=f"{stage.options.holds:,} holds, allocator {allocator}",
        )
    )
    forgetful = stage.system(FORGETFUL, SETTINGS)
    forgetful.receive_once(GROUP, [sku_name(GROUP)], UNITS)
    forgetful.books.groups[GROUP].may_expire = True
    _pass_through(stage, forgetful, max(round(stage.options.growth * WARM_UP_SHARE), 1))
    before = _memory(forgetful)
    _pass_through(stage, forgetful, stage.options.growth)
    after = _memory(forgetful)
    note = f"{stage.options.growth:,} holds of a second, retention {RETENTION_S} s"
    for what, target in (("redis", "growth"), ("processes", "growth_processes")):
        grown = spread([after[what] / before[what]])
        told = f"{note}; {before[what] / 1e6:,.1f} MB before, {after[what] / 1e6:,.1f} MB after"
        result.figures.append(ratio(f"memory of {what} after, over before", grown, target, note=told))
    result.broken += forgetful.broken_promises()
    stage.remove_system(FORGETFUL)
    return result


def _pass_through(stage: Stage, system: Holdfast, holds: int) -> None:
    """Make holds, and wait until they expired, PostgreSQL knows, and Redis forgot them. Raises HarnessError."""
    stage.told(f"  {holds:,} holds come and go")
    run_to_end(system, stage.plan(BRIEF_HOLD, limit=holds), GROUP)
    deadline = time.monotonic() + FORGOTTEN_S
    while _live_keys(system):
        if time.monotonic() > deadline:
            raise HarnessError(f"Redis still knows holds {FORGOTTEN_S:.0f} s after they expired")
        time.sleep(POLL_S)
    system.settle()
    time.sleep(STEADY_S)


def _live_keys(system: Holdfast) -> int:
    """Keys that end by themselves, which holds and memories are, but for the few of the queue's."""
    keyspace = system.redis_info().get("db0", {})
    return max(int(keyspace.get("expires", 0)) - 100, 0)


def _memory(system: Holdfast) -> dict[str, float]:
    roles = system.roles()
    ours = {role: pids for role, pids in roles.items() if role in ("api", "worker")}
    return {"redis": float(system.redis_info()["used_memory"]), "processes": float(sum(resident_bytes(ours).values()))}
