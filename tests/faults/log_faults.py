"""Faults of the log and of PostgreSQL behind it: unreadable, repeated and missing events, and a long outage."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from tests.faults.acts import commit, reserve
from tests.faults.history import Operation
from tests.faults.observe import KEYS, SQL
from tests.faults.stage import READY_S, Stage
from tests.faults.system import NotThereError

FORGE = Path(__file__).with_name("forge.lua").read_text(encoding="utf-8")
GAP_S = 2.0
PAUSED_MS = 2_000
BURST = 64
COMMITS_WITHOUT_POSTGRES = 20


async def poison(stage: Stage) -> None:
    """Three events that can never be applied, among others: they are set aside, the others arrive."""
    for _ in range(3):
        await _forge(stage, "poison")
        stage.forged += 1
        await asyncio.sleep(0.1)


async def gap(stage: Stage) -> None:
    """A missing event stops the flush; nothing after it is applied until an operator says that it never was."""
    await stage.quiet()
    missing = await _forge(stage, "gap")
    stage.load.resume()
    await asyncio.sleep(GAP_S)
    applied = (await stage.site.place()).sql[1]
    stage.expect(applied == missing - 1, f"the flush went past a gap at {missing}, to {applied}")
    await stage.site.query(lambda connection: connection.execute(SQL["skip_event"]))


async def kill_between_commit_and_trim(stage: Stage) -> None:
    """The drainer dies after PostgreSQL has its events and before Redis let go of them."""
    await _between_commit_and_trim(stage, is_seen_again=False)


async def repeat_batch(stage: Stage) -> None:
    """The same, and PostgreSQL's offset goes back: the whole batch is applied once more."""
    await _between_commit_and_trim(stage, is_seen_again=True)


async def _between_commit_and_trim(stage: Stage, *, is_seen_again: bool) -> None:
    async with stage.site.redis() as redis:
        await redis.execute_command("CLIENT", "PAUSE", PAUSED_MS, "WRITE")  # type: ignore[no-untyped-call]
        try:
            await asyncio.sleep(0.4)  # the flush reads, commits, and waits for its trim
            stage.system.signal([*stage.system.children("flush"), *stage.system.pids("flush")], signal.SIGKILL)
            await asyncio.sleep(0.1)
            if is_seen_again:
                flushed = int(await redis.hget(KEYS.meta, "flushed") or 0)
                await stage.site.query(lambda connection: connection.execute(SQL["set_back"], flushed))
        finally:
            await redis.execute_command("CLIENT", "UNPAUSE")  # type: ignore[no-untyped-call]


async def _forge(stage: Stage, what: str) -> int:
    async with stage.site.redis() as redis:
        return int(await redis.eval(FORGE, 2, KEYS.meta, KEYS.events, what))


async def lose_postgres_for_long(stage: Stage) -> None:
    """Down until the log is at its high-water mark: then reserves are turned away, and commits still finish."""
    async with stage.system.down("postgres"):
        held = await _reserve_until_turned_away(stage)
        for operation in held[-COMMITS_WITHOUT_POSTGRES:]:
            answer = (await commit(stage, operation)).attempts[-1].answer
            sold = answer is not None and answer.is_granted
            stage.expect(sold, f"without PostgreSQL a commit was answered {answer}")


async def wipe_without_postgres(stage: Stage) -> None:
    """Redis knows nothing, and there is nobody to tell it: nothing is promised until there is."""
    await stage.quiet()
    async with stage.system.down("postgres"):
        async with stage.site.redis() as redis:
            await redis.flushall()
        stage.load.resume()
        await asyncio.sleep(GAP_S)
        asked = await stage.asker.ask(reserve(stage))
        stage.expect(asked.granted is None, "a hold was granted by a Redis that nobody could verify")


async def _reserve_until_turned_away(stage: Stage) -> list[Operation]:
    """Holds, until they get their 503; returns those that were granted."""
    held: list[Operation] = []
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        asked = await asyncio.gather(*(stage.asker.ask(reserve(stage)) for _ in range(BURST)))
        granted = [operation for operation in asked if operation.granted is not None]
        held += granted
        last = [operation.attempts[-1].answer for operation in asked]
        if not granted and all(answer is not None and answer.status == 503 for answer in last):
            return held
    raise NotThereError("reserves were never turned away")
