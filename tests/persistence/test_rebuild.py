"""The fence and the rebuild: a Redis that knows less than PostgreSQL is mended before anyone reserves on it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.errors import Unavailable
from engine.events import LogGap
from engine.holds import HoldAnswer, HoldStatus, Line, Reserve
from engine.idempotency import Keyed
from engine.refusals import Refusal, Refused
from engine.restore import Meta, Restorer
from engine.settings import Settings
from engine.stock import Adjust, StockAnswer
from persistence import fence as verification
from persistence.flush import read_offset
from tests.system import System, open_system, reserve

pytestmark = pytest.mark.anyio


async def test_a_wiped_redis_is_refused_until_it_is_rebuilt_with_counts_holds_and_deadlines(system: System) -> None:
    await system.create("A", 10)
    await system.create("L", 10, customer_limit=3)
    live = await system.hold("A", 4)
    limited = await system.hold("L", 2, customer="bob")
    sold = await system.hold("A", 1)
    await system.shard.commit(sold.hold.token, Keyed("pay", "f"))
    await system.flush()
    await system.raw.flushall()

    with pytest.raises(Unavailable):
        await system.shard.reserve(reserve("A"))
    with pytest.raises(Unavailable):
        await system.shard.stock("A")
    assert await system.verify() == "rebuilt"

    assert await system.counts("A") == (5, 4, 1)
    assert await system.shard.hold(live.hold.token) == live.hold
    assert await system.shard.hold(limited.hold.token) == limited.hold
    over = await system.shard.reserve(reserve("L", 2, customer="bob"))
    assert isinstance(over, Refused) and over.refusal is Refusal.CUSTOMER_LIMIT_EXCEEDED
    again = await system.shard.commit(sold.hold.token, Keyed("pay", "f"))
    assert isinstance(again, HoldAnswer) and again.replayed
    done = await system.shard.commit(live.hold.token)
    assert isinstance(done, HoldAnswer)
    assert await system.counts("A") == (5, 0, 5)
    await system.flush()
    assert (await system.audit()).is_clean


async def test_asking_twice_is_asking_once_across_a_rebuild(system: System) -> None:
    await system.create("A", 10)
    request = reserve("A", 2, token="derived")
    first = await system.shard.reserve(request)
    adjusted = await system.shard.adjust(Adjust("delivery", "f", "A", 7, "received"))
    await system.flush()
    await system.raw.flushall()
    await system.verify()
    again = await system.shard.reserve(request)
    assert isinstance(again, HoldAnswer) and isinstance(first, HoldAnswer)
    assert (again.hold, again.replayed) == (first.hold, True)
    repeated = await system.shard.adjust(Adjust("delivery", "f", "A", 7, "received"))
    assert isinstance(repeated, StockAnswer) and isinstance(adjusted, StockAnswer)
    assert (repeated.level, repeated.replayed) == (adjusted.level, True)
    other = await system.shard.adjust(Adjust("delivery", "other", "A", 8, "received"))
    assert isinstance(other, Refused) and other.refusal is Refusal.KEY_REUSED
    assert await system.counts("A") == (15, 2, 0)


async def test_a_batch_keeps_its_memory_across_a_rebuild(system: System) -> None:
    await system.create("A", 1)
    group = [Reserve(f"g{i}", "f", None, 60_000, (Line("A", 1),), (), "group", i) for i in (1, 2)]
    first = await system.shard.reserve_group(group)
    await system.flush()
    await system.raw.flushall()
    await system.verify()
    await system.shard.adjust(Adjust("more", "f", "A", 5, "received"))
    again = await system.shard.reserve_group(group)
    assert isinstance(again[0], HoldAnswer) and again[0].replayed
    assert again[1] == first[1]


async def test_a_redis_restored_from_an_older_copy_is_repaired(system: System) -> None:
    await system.create("A", 10)
    before: Any = await system.raw.hgetall(system.keys.stock), await system.raw.hgetall(system.keys.meta)
    await system.hold("A", 4)
    await system.flush()
    await system.raw.hset(system.keys.stock, mapping=before[0])
    await system.raw.hset(system.keys.meta, mapping=before[1])
    assert await system.verify() == "repaired"
    assert await system.counts("A") == (6, 4, 0)


async def test_a_redis_ahead_of_postgresql_is_taken_as_it_is(system: System) -> None:
    await system.create("A", 10)
    await system.hold("A", 4)
    assert await system.verify() == "verified"
    assert await system.counts("A") == (6, 4, 0)


async def test_a_flush_between_the_two_readings_does_not_make_a_healthy_redis_look_behind(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.create("A", 10)
    await system.flush()

    async def read_then_sell_and_flush(connection: Any, shard: int) -> Any:
        offset = await read_offset(connection, shard)
        await system.hold("A")
        await system.flush()
        return offset

    class Reading(Restorer):
        async def meta(self) -> Meta:
            meta = await super().meta()
            await system.hold("A")
            await system.flush()
            return meta

    monkeypatch.setattr(verification, "read_offset", read_then_sell_and_flush)
    monkeypatch.setattr(verification, "Restorer", Reading)
    assert await system.verify() == "verified"
    assert system.fence.epoch == 1


async def test_a_postgresql_put_back_to_an_earlier_time_is_noticed_and_a_rebuild_from_it_closes_nothing(
    system: System,
) -> None:
    await system.create("A", 10)
    await system.hold("A")
    await system.flush()
    await system.pool.execute("UPDATE flush_offsets SET seq = 1")
    with pytest.raises(Unavailable, match="put back to an earlier time"):
        await system.verify()
    await system.hold("A")
    with pytest.raises(LogGap):
        await verification.rebuild(system.settings, system.pool)
    assert await system.raw.hget(system.keys.meta, "epoch") == "1"
    assert await system.counts("A") == (8, 2, 0)


async def test_a_rebuild_on_request_loses_nothing_that_was_not_flushed(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    held = await system.hold("A", 4)
    rebuilt = await verification.rebuild(system.settings, system.pool)
    assert (rebuilt.drained_events, rebuilt.skus, rebuilt.holds) == (1, 1, 1)
    with pytest.raises(Unavailable):
        await system.shard.reserve(reserve("A"))
    await system.verify()
    assert await system.shard.hold(held.hold.token) == held.hold
    assert await system.counts("A") == (6, 4, 0)


async def test_a_rebuild_that_crashed_before_its_end_is_done_again(system: System) -> None:
    await system.create("A", 10)
    await system.hold("A", 4)
    await system.flush()
    await system.raw.hdel(system.keys.meta, "epoch")
    await system.raw.delete(system.keys.stock)
    assert await system.verify() == "rebuilt"
    assert await system.counts("A") == (6, 4, 0)


async def test_a_hold_whose_deadline_passed_during_the_outage_is_given_back(system: System) -> None:
    await system.create("A", 4)
    held = await system.hold("A", 4, ttl_ms=50)
    await system.flush()
    await system.raw.flushall()
    await asyncio.sleep(0.06)
    await system.verify()
    late = await system.shard.commit(held.hold.token)
    assert isinstance(late, Refused) and late.refusal is Refusal.HOLD_EXPIRED
    await system.hold("A", 4)
    ended = await system.shard.hold(held.hold.token)
    assert ended is not None and ended.status is HoldStatus.EXPIRED


async def test_a_redis_of_another_installation_is_refused(system: System) -> None:
    await system.raw.hset(system.keys.meta, "installation", "another")
    with pytest.raises(Unavailable, match="belongs to another database"):
        await system.verify()


async def test_the_first_start_begins_the_log_and_the_second_goes_on_with_it(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    async with open_system(settings) as second:
        assert await second.counts("A") == (10, 0, 0)
        assert second.fence.epoch == system.fence.epoch == 1
