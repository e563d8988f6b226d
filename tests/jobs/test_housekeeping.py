"""Housekeeping: expired holds are given back by the job, and by nobody's help where no job runs."""

from __future__ import annotations

import asyncio

import pytest

from engine.holds import HoldStatus
from engine.refusals import Refusal, Refused
from tests.jobs.processes import Processes, until
from tests.system import System

pytestmark = pytest.mark.anyio


async def test_the_housekeeping_worker_gives_expired_holds_back_by_itself_and_ends_soon_on_sigterm(
    system: System, processes: Processes
) -> None:
    await system.create("A", 10)
    worker = processes.worker("housekeeping")
    processes.scheduler()
    due = await system.hold("A", 4, ttl_ms=300)
    kept = await system.hold("A", 1)

    async def is_given_back() -> bool:
        level = (await system.unswept_stock(["A"]))["A"]
        return (level.available, level.reserved) == (9, 1)

    print(f"\nswept {await until(is_given_back, 'the hold was swept'):.1f} s after it was made")  # noqa: T201
    ended, live = await system.shard.hold(due.hold.token), await system.shard.hold(kept.hold.token)
    assert ended is not None and ended.status is HoldStatus.EXPIRED
    assert live == kept.hold
    assert worker.end(10) == 0, worker.log
    await system.flush()
    assert (await system.audit()).is_clean


async def test_with_every_worker_dead_an_expired_hold_neither_blocks_a_sale_nor_sells(
    system: System, processes: Processes
) -> None:
    await system.create("A", 5)
    worker = processes.worker("housekeeping")
    worker.kill()
    old = await system.hold("A", 5, ttl_ms=50)
    await asyncio.sleep(0.06)
    fresh = await system.hold("A", 5)
    late = await system.shard.commit(old.hold.token)
    assert isinstance(late, Refused) and late.refusal is Refusal.HOLD_EXPIRED
    await system.shard.commit(fresh.hold.token)
    assert await system.counts("A") == (0, 0, 5)
    await system.flush()
    assert (await system.audit()).is_clean
