"""Guards of the rebuild; each test fails when its guard is taken away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.errors import Unavailable
from engine.idempotency import Keyed
from engine.keys import Keys
from engine.refusals import Refused
from engine.restore import Restorer
from engine.settings import Settings
from engine.stock import Adjust, StockAnswer
from persistence import fence as verification
from persistence.flush import Drained, Offset, drain_once, read_offset
from tests.bundles import deadlines_in
from tests.system import System, open_system, reserve

pytestmark = pytest.mark.anyio


async def test_while_redis_is_rebuilt_nobody_reserves(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.create("A", 10)
    await system.flush()
    answers: list[Any] = []

    async with open_system(settings) as other:
        wipe = Restorer.wipe

        async def reserving(self: Restorer) -> None:
            answers.extend(await asyncio.gather(other.shard.reserve(reserve("A")), return_exceptions=True))
            await wipe(self)

        monkeypatch.setattr(Restorer, "wipe", reserving)
        await verification.rebuild(settings, system.pool)
        assert [type(answer) for answer in answers] == [Unavailable]
        await other.verify()
        assert await other.counts("A") == (10, 0, 0)


async def test_a_rebuild_leaves_nothing_of_what_was_there_before(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.stock, "GHOST", "[1,0,0,1,0]")
    await system.raw.set(system.keys.hold("ghost"), "x")
    await system.raw.set("not-ours", "stays")
    await verification.rebuild(system.settings, system.pool)
    assert await system.raw.hkeys(system.keys.stock) == ["A"]
    assert not await system.raw.exists(system.keys.hold("ghost"))
    assert await system.raw.get("not-ours") == "stays"


async def test_what_a_rebuild_puts_back_is_kept_no_longer_and_no_shorter_than_before(system: System) -> None:
    await system.create("A", 10, customer_limit=5)
    live, sold = (await system.hold("A", 2, customer="bob")).hold, (await system.hold("A", 1, customer="bob")).hold
    due = (await system.hold("A", 1, ttl_ms=1)).hold
    await system.shard.commit(sold.token, Keyed("pay", "f"))
    await system.flush()
    # As if all of it had happened twenty hours ago.
    await system.pool.execute("UPDATE holds SET settled_at = settled_at - interval '20 hours'")
    await system.pool.execute("UPDATE holds SET expires_at = expires_at - interval '2 days' WHERE id = $1", due.id)
    await system.pool.execute("UPDATE operation_memories SET at = at - interval '20 hours'")
    await system.raw.flushall()
    await system.verify()

    async def kept_hours(key: str) -> float:
        return float(await system.raw.pttl(key)) / 3_600_000

    month = 30 * 24
    assert month + 24.0 < await kept_hours(system.keys.hold(live.token)) < month + 24.1
    assert 3.9 < await kept_hours(system.keys.hold(sold.token)) <= 4.0
    assert 3.9 < await kept_hours(system.keys.memory("pay")) <= 4.0
    assert month - 24.1 < await kept_hours(system.keys.hold(due.token)) <= month - 24.0
    assert (await deadlines_in(system.raw, system.keys)).keys() == {live.token, due.token}
    assert await system.raw.hgetall(system.keys.customers) == {"A|bob": "3"}


async def test_what_ended_longer_ago_than_the_retention_is_not_put_back(system: System) -> None:
    await system.create("A", 10)
    sold = (await system.hold("A", 1)).hold
    await system.shard.commit(sold.token, Keyed("pay", "f"))
    await system.flush()
    await system.pool.execute("UPDATE holds SET settled_at = settled_at - interval '25 hours'")
    await system.pool.execute("UPDATE operation_memories SET at = at - interval '25 hours'")
    await system.raw.flushall()
    await system.verify()
    assert not await system.raw.exists(system.keys.hold(sold.token), system.keys.memory("pay"))


async def test_a_drainer_that_slept_through_a_rebuild_applies_nothing_of_the_old_log(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    await system.flush()
    async with open_system(settings) as late:
        await system.hold("A", 3)
        await verification.rebuild(settings, system.pool)
        async with late.pool.acquire() as connection:
            drained = await drain_once(connection, late.raw, late.keys, 100)
            assert drained == Drained(Offset(2, 0), 0, 0)
            with pytest.raises(Unavailable):
                await late.shard.acknowledge(1)
            assert await read_offset(connection, 0) == Offset(2, 0)
    await system.verify()
    assert await system.counts("A") == (7, 3, 0)
    assert (await system.audit()).is_clean


async def test_an_adjustment_is_remembered_with_the_fingerprint_that_it_had(system: System) -> None:
    await system.create("A", 10)
    await system.shard.adjust(Adjust("in", "f", "A", 7, "received"))
    await system.flush()
    await system.raw.delete(Keys().memory("in"))
    await verification.rebuild(system.settings, system.pool)
    await system.verify()
    again = await system.shard.adjust(Adjust("in", "f", "A", 7, "received"))
    other = await system.shard.adjust(Adjust("in", "g", "A", 8, "received"))
    assert isinstance(again, StockAnswer) and again.replayed
    assert isinstance(other, Refused)
