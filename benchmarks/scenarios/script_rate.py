"""`script_rate`: the engine called in process, over a script for one hold driven as fast as Redis takes it."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from benchmarks.findings.figures import Result, Turn, paired, ratio, spread
from benchmarks.harness.children import PROJECT_DIR, HarnessError, environment
from benchmarks.harness.cpu import cpu_seconds, used_between
from benchmarks.harness.holdfast import Holdfast
from benchmarks.harness.peer import REDIS_NUMBER
from benchmarks.harness.stage import Stage, sku_name
from benchmarks.harness.turns import in_turns

TITLE = "the engine in process, over the script for one hold"
GROUP = "inside"
GRACE_S = 60.0
SCRIPT, ENGINE = "script_rate", "engine"


def run(stage: Stage) -> Result:
    """Both on one Redis that is new to both, without HTTP; the flush follows the engine as always."""
    result = Result(scenario="script_rate", title=TITLE, counted="holds")
    holdfast = stage.stocked(GROUP, system=GROUP)
    seconds, sku = str(stage.options.seconds), sku_name(GROUP)
    other_redis = urlunsplit(urlsplit(holdfast.runtime.redis_url)._replace(path=REDIS_NUMBER))
    commands = {
        ENGINE: ["benchmarks.inside.engine_rate", sku, seconds],
        SCRIPT: ["benchmarks.load.script_client", other_redis, sku, seconds],
    }

    def take(name: str) -> Turn:
        roles = holdfast.roles()
        before = cpu_seconds(roles)
        said = _run(holdfast, commands[name], stage.options.seconds)
        after = cpu_seconds(roles)
        if name == ENGINE:
            holdfast.books.note(GROUP, granted=said.done, unheard=said.unheard)
        settled_s = holdfast.settle()
        rate = said.done / said.seconds
        stage.told(f"  {name:<16} {rate:>10,.0f} holds/s")
        return Turn(
            contender=name,
            rate=rate,
            seconds=said.seconds,
            granted=[said.done],
            refused=0,
            faults=0,
            p50_ms=0.0,
            p99_ms=0.0,
            p999_ms=0.0,
            cpu_us=used_between(before, after, said.done),
            client="in process" if name == ENGINE else "pipelining",
            client_busy=said.busy,
            settled_s=settled_s,
        )

    result.turns = in_turns([partial(take, name) for name in commands], stage.options.rounds)
    result.broken += holdfast.broken_promises()
    stage.remove_system(GROUP)
    found = paired(result.rates(ENGINE), result.rates(SCRIPT))
    result.figures.append(ratio("holds, over script_rate", found, "engine"))
    for name in commands:
        turns = [turn for turn in result.turns if turn.contender == name]
        redis_busy = spread([turn.cpu_us["redis"] * turn.rate / 1_000_000 for turn in turns]).value
        client_busy = spread([turn.client_busy for turn in turns]).value
        result.notes.append(f"{name}: Redis worked {redis_busy:.0%} of the time, its client {client_busy:.0%}")
    return result


class Done(Struct, frozen=True):
    """What both modules print: holds made, in so many seconds, `unheard` perhaps more; and how busy they were."""

    done: int
    seconds: float
    unheard: int
    busy: float


def _run(holdfast: Holdfast, module: list[str], seconds: float) -> Done:
    """Run a module to its end. Raises HarnessError."""
    runtime = holdfast.runtime
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=PROJECT_DIR,
        env=environment({"HOLDFAST_REDIS_URL": runtime.redis_url, "HOLDFAST_DATABASE_URL": runtime.database_url}),
        capture_output=True,
        check=False,
        timeout=seconds + GRACE_S,
    )
    if done.returncode:
        raise HarnessError(f"{module[0]}: {done.stderr.decode(errors='replace')[-1_000:]}")
    return msgspec.json.decode(done.stdout, type=Done)
