"""The flush: exactly once, in order, and not held up by what cannot be applied."""

from __future__ import annotations

import asyncio

import pytest

from engine.events import LogGap
from engine.idempotency import Keyed
from engine.refusals import Refused
from engine.stock import Adjust
from persistence import quarantine
from persistence.flush import drain_once, read_offset
from tests.persistence.forging import forge, lose_second
from tests.system import System

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_each_way")]


async def test_every_verb_reaches_postgresql_and_the_books_balance(system: System) -> None:
    await system.create("A", 10, customer_limit=5)
    await system.shard.adjust(Adjust("t1", "f", "A", 5, "received", "PO-1"))
    sold = await system.hold("A", 2, customer="bob")
    released = await system.hold("A", 3)
    kept = await system.hold("A", 1)
    await system.hold("A", 4, ttl_ms=1)
    await system.shard.commit(sold.hold.token, Keyed("k", "f"), "order-7")
    await system.shard.release(released.hold.token)
    await system.shard.extend(kept.hold.token, 900)
    await asyncio.sleep(0.01)
    await system.shard.expire_due()
    assert await system.flush() == 10

    row = await system.pool.fetchrow("SELECT * FROM stock_levels WHERE sku = 'A'")
    assert row is not None
    assert (row["available"], row["reserved"], row["sold"], row["received"]) == (12, 1, 2, 15)
    assert row["customer_limit"] == 5
    kinds = await system.pool.fetch("SELECT kind, reference FROM stock_ledger WHERE sku = 'A' ORDER BY seq")
    assert [kind for kind, _ in kinds] == [
        "adjust", "adjust", "reserve", "reserve", "reserve", "reserve", "commit", "release", "expire",
    ]  # fmt: skip
    assert ("commit", "order-7") in [tuple(row) for row in kinds]
    statuses = await system.pool.fetch("SELECT status FROM holds ORDER BY status")
    assert [status for (status,) in statuses] == ["committed", "expired", "held", "released"]
    assert (await system.audit()).is_clean
    assert (await system.shard.backlog()).events == 0
    assert await system.raw.xlen(system.keys.events) == 0


async def test_holds_that_live_on_between_flushes_end_as_they_should(system: System) -> None:
    await system.create("A", 10)
    held = [await system.hold("A") for _ in range(4)]
    await system.flush()
    await system.shard.commit(held[0].hold.token)
    await system.shard.release(held[1].hold.token)
    extended = await system.shard.extend(held[2].hold.token, 1000)
    assert not isinstance(extended, Refused)
    await system.flush()
    rows = {row["id"]: row for row in await system.pool.fetch("SELECT * FROM holds")}
    assert [rows[answer.hold.id]["status"] for answer in held] == ["committed", "released", "held", "held"]
    assert rows[held[2].hold.id]["expires_at"] == extended.hold.expires_ms
    assert (await system.audit()).is_clean


async def test_a_batch_applied_but_not_trimmed_is_not_applied_again(system: System) -> None:
    await system.create("A", 10)
    await system.hold("A", 2)
    async with system.pool.acquire() as connection:
        first = await drain_once(connection, system.raw, system.keys, 100)
        again = await drain_once(connection, system.raw, system.keys, 100)
    assert (first.events, again.events) == (2, 0)
    assert await system.raw.xlen(system.keys.events) == 2
    assert (await system.audit()).is_clean


async def test_an_offset_set_back_does_not_move_units_twice(system: System) -> None:
    await system.create("A", 10)
    await system.hold("A", 2)
    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 100)
        await connection.execute("UPDATE flush_offsets SET seq = 0")
        again = await drain_once(connection, system.raw, system.keys, 100)
    assert again.events == 2
    assert (await system.audit()).is_clean
    assert await system.pool.fetchval("SELECT count(*) FROM stock_ledger") == 2


async def test_answers_that_are_there_already_give_way_to_those_that_are_seen_again(system: System) -> None:
    await system.create("A", 10)
    await system.shard.adjust(Adjust("t1", "f", "A", 5, "received", "PO-1"))
    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 100)
        before = await connection.fetch("SELECT * FROM operation_memories ORDER BY token")
        await connection.execute("UPDATE operation_memories SET memory = '[]'; UPDATE flush_offsets SET seq = 0")
        assert (await drain_once(connection, system.raw, system.keys, 100)).quarantined == 0
        assert before
        assert await connection.fetch("SELECT * FROM operation_memories ORDER BY token") == before


async def test_two_drainers_at_once_apply_each_event_once(system: System) -> None:
    await system.create("A", 10_000)
    await asyncio.gather(*(system.hold("A") for _ in range(2_000)))

    async def drainer() -> int:
        total = 0
        async with system.pool.acquire() as connection:
            while (drained := await drain_once(connection, system.raw, system.keys, 300)).events:
                total += drained.events
        return total

    totals = await asyncio.gather(drainer(), drainer(), drainer())
    assert sum(totals) == 2_001
    assert await system.pool.fetchval("SELECT count(*) FROM stock_ledger") == 2_001
    assert (await system.audit()).is_clean


async def test_a_gap_in_the_log_stops_the_flush_before_it_and_changes_nothing_beyond(system: System) -> None:
    await lose_second(system)
    for _ in range(2):
        with pytest.raises(LogGap, match="expected event 1-2"):
            await system.flush()
    assert await system.pool.fetchval("SELECT count(*) FROM stock_ledger") == 1
    async with system.pool.acquire() as connection:
        offset = await read_offset(connection, 0)
    assert offset is not None and offset.seq == 1


async def test_a_poison_event_is_set_aside_while_the_others_go_on_and_can_be_replayed_once_mended(
    system: System,
) -> None:
    await system.create("A", 10)
    await system.raw.eval(
        "redis.call('XADD', KEYS[1], '1-2', 'kind', 'adjust', 'at', '1000', 'n', '1', 'events', '[[\"A\",\"many\"]]')"
        "redis.call('HSET', KEYS[2], 'seq', 2)",
        2,
        system.keys.events,
        system.keys.meta,
    )
    await system.hold("A", 3)
    assert await system.flush() == 3
    row = await system.pool.fetchrow("SELECT available, reserved FROM stock_levels")
    assert row is not None and tuple(row) == (7, 3)
    (item,) = await quarantine.waiting(system.pool)
    assert (item.seq, item.kind) == (2, "adjust")
    assert "many" in item.payload
    assert not (await system.audit()).is_clean

    still = await quarantine.replay(system.pool, 0, 1, 2)
    assert still is not None and still.reason
    done = await quarantine.replay(system.pool, 0, 1, 2, payload='["A", 0, "mended", "", 0, 0]')
    assert done == quarantine.Replay(1, None)
    assert await quarantine.replay(system.pool, 0, 1, 2) is None
    assert (await system.audit()).is_clean


async def test_an_event_that_postgresql_refuses_is_set_aside_alone(system: System) -> None:
    await system.create("A", 10)
    holds = [await system.hold("A") for _ in range(5)]
    await system.flush()
    await system.pool.execute("DELETE FROM holds WHERE id = $1", holds[2].hold.id)
    for answer in holds:
        await system.shard.commit(answer.hold.token)
    await system.flush()
    (item,) = await quarantine.waiting(system.pool)
    assert holds[2].hold.token in item.payload
    assert await system.pool.fetchval("SELECT sold FROM stock_levels") == 4


async def test_a_hold_until_a_time_beyond_all_calendars_is_set_aside_alone(system: System) -> None:
    await system.create("A", 10)
    fits = '["t","",1000,253402300799999,"f",[["A",1]]]'
    does_not = '["u","",1000,253402300800000,"f",[["A",1]]]'
    await forge(system, "1-3", kind="reserve", at="1000", n="2", events=f"[{fits},{does_not}]")
    await system.hold("A", 3)
    assert await system.flush() == 4
    assert [item.seq for item in await quarantine.waiting(system.pool)] == [3]
    assert await system.pool.fetchval("SELECT expires_at FROM holds WHERE id = 'hold_t'") == 253_402_300_799_999
    assert await system.pool.fetchval("SELECT reserved FROM stock_levels") == 4


async def test_an_unreadable_entry_is_set_aside_whole(system: System) -> None:
    await system.create("A", 10)
    await system.raw.eval(
        "redis.call('XADD', KEYS[1], '1-3', 'junk', 'x') redis.call('HSET', KEYS[2], 'seq', 3)",
        2,
        system.keys.events,
        system.keys.meta,
    )
    await system.hold("A")
    assert await system.flush() == 4
    (item,) = await quarantine.waiting(system.pool)
    assert (item.seq, item.kind) == (3, "entry")
