"""The audit finds what does not balance, and balances while traffic runs."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from engine.errors import Unavailable
from engine.stock import StockLevel, row_of_level
from jobs.reconcile import run
from persistence import fence as verification
from persistence import quarantine
from persistence.rebuild import GivenUp
from tests.persistence.forging import spoil_last
from tests.system import System

pytestmark = pytest.mark.anyio


async def test_the_audit_balances_while_holds_are_made_and_flushed(system: System) -> None:
    await system.create("A", 5_000)

    async def traffic() -> None:
        for _ in range(20):
            await asyncio.gather(*(system.hold("A") for _ in range(50)))

    async def flushing(task: asyncio.Task[None]) -> None:
        while not task.done():
            await system.flush()

    task = asyncio.create_task(traffic())
    flusher = asyncio.create_task(flushing(task))
    audits = [await system.audit(wait_s=5) for _ in range(5)]
    await asyncio.gather(task, flusher)
    assert all(found.is_clean for found in audits), audits


async def test_a_unit_that_appears_in_redis_by_hand_is_found_and_mended_on_request(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    forged = StockLevel("A", 11, 0, 0, 11, None)
    await system.raw.hset(system.keys.stock, "A", row_of_level(forged))
    (difference,) = (await system.audit()).differences
    assert (difference.sku, difference.between) == ("A", "Redis and PostgreSQL")
    reported = await run(system.settings, fix=False)
    assert not reported.audit.is_clean
    left = await system.last_audit()
    assert left is not None and left.differences == 1
    mended = await run(system.settings, fix=True)
    assert mended.rebuilt and mended.audit.is_clean
    left = await system.last_audit()
    assert left is not None and left.differences == 0
    await system.verify()
    assert await system.counts("A") == (10, 0, 0)


async def test_counts_changed_by_hand_in_postgresql_are_found_and_mended_from_the_ledger(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("UPDATE stock_levels SET available = 9, sold = 1")
    assert {difference.between for difference in (await system.audit()).differences} == {
        "Redis and PostgreSQL",
        "PostgreSQL's counts and its ledger",
    }
    mended = await run(system.settings, fix=True)
    assert mended.levels_mended == 1 and mended.audit.is_clean


async def sell_unread(system: System) -> str:
    """Sell all that there is, in an event that cannot be read; returns it as it was."""
    await system.create("A", 10)
    held = await system.hold("A", 10)
    await system.shard.commit(held.hold.token)
    return await spoil_last(system)


async def test_nothing_is_mended_while_only_redis_has_what_was_sold(system: System) -> None:
    told = await sell_unread(system)
    await system.flush()
    reported = await run(system.settings, fix=True)
    assert (reported.audit.quarantined, reported.rebuilt, reported.levels_mended) == (1, False, 0)
    with pytest.raises(Unavailable, match="only Redis has what they changed"):
        await verification.rebuild(system.settings, system.pool, system.keys)
    await system.verify()
    assert await system.counts("A") == (0, 0, 10)

    (item,) = await quarantine.waiting(system.pool)
    mended = msgspec.json.encode(msgspec.json.decode(told)[0]).decode()
    assert await quarantine.replay(system.pool, 0, item.epoch, item.seq, mended) == quarantine.Replay(1, None)
    assert (await run(system.settings, fix=True)).audit.is_clean
    assert await system.counts("A") == (0, 0, 10)


async def test_what_waits_in_the_log_is_set_aside_before_a_rebuild_is_judged(system: System) -> None:
    await sell_unread(system)
    with pytest.raises(Unavailable, match="only Redis has what they changed"):
        await verification.rebuild(system.settings, system.pool, system.keys)
    assert await system.counts("A") == (0, 0, 10)


async def test_what_is_set_aside_may_be_given_up_for_a_rebuild(system: System) -> None:
    await sell_unread(system)
    await system.flush()
    await verification.rebuild(system.settings, system.pool, system.keys, given_up=GivenUp(quarantined=True))
    await system.verify()
    assert await system.counts("A") == (0, 10, 0)
    assert (await system.audit()).is_clean
    assert await quarantine.waiting(system.pool) == []


async def test_a_redis_that_was_emptied_is_rebuilt_whatever_is_set_aside(system: System) -> None:
    await sell_unread(system)
    await system.flush()
    await system.raw.flushall()
    await verification.rebuild(system.settings, system.pool, system.keys)
    await system.verify()
    assert await system.counts("A") == (0, 10, 0)
    assert len(await quarantine.waiting(system.pool)) == 1


async def test_a_lost_ledger_row_is_found(system: System) -> None:
    await system.create("A", 10)
    await system.hold("A")
    await system.flush()
    await system.pool.execute("DELETE FROM stock_ledger WHERE kind = 'reserve'")
    assert not (await system.audit()).is_clean


async def test_an_audit_that_the_flush_never_reaches_says_so(system: System) -> None:
    await system.create("A", 10)
    with pytest.raises(Unavailable, match="did not reach event"):
        await system.audit(wait_s=0.1)


async def test_a_hold_whose_record_was_deleted_is_ended_from_what_postgresql_knows(system: System) -> None:
    await system.create("A", 10)
    held = await system.hold("A", 4, ttl_ms=20)
    await system.flush()
    await system.raw.delete(system.keys.hold(held.hold.token))
    await asyncio.sleep(0.03)
    assert await system.shard.expire_due() == 0
    assert await system.counts("A") == (6, 4, 0)
    done = await run_with_flush(system)
    assert done == (1, 0)
    assert await system.counts("A") == (10, 0, 0)
    assert await run_with_flush(system) == (0, 0)
    assert await system.counts("A") == (10, 0, 0)


async def run_with_flush(system: System) -> tuple[int, int]:
    """Reconcile while a drainer runs beside it."""

    is_reconciled = asyncio.Event()

    async def flushing() -> None:
        while not is_reconciled.is_set():
            await system.flush()
            await asyncio.sleep(0.01)

    flusher = asyncio.create_task(flushing())
    try:
        result = await run(system.settings, fix=False)
    finally:
        is_reconciled.set()
        await flusher  # not cancelled: that would break off a transaction, and fail a later test
    assert result.audit.is_clean
    return result.orphans_ended, result.orphans_unproven
