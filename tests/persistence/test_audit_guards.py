"""Guards of the audit and of the mending of orphans; each test fails when its guard is taken away."""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import Unavailable
from engine.settings import Settings
from jobs.reconcile import end_orphans
from jobs.resources import open_resources
from persistence import quarantine
from tests.persistence.forging import forge
from tests.system import System

pytestmark = pytest.mark.anyio


async def test_counts_that_agree_with_each_other_but_not_with_the_holds_are_found(system: System) -> None:
    await system.create("A", 10)
    hold = (await system.hold("A", 2)).hold
    await system.flush()
    await system.pool.execute("UPDATE holds SET status = 'released', settled_at = now() WHERE id = $1", hold.id)
    (difference,) = (await system.audit()).differences
    assert difference.between == "reserved units and live holds in PostgreSQL"


async def test_counts_that_agree_with_redis_but_not_with_the_ledger_are_found(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("UPDATE stock_ledger SET delta_available = 9")
    (difference,) = (await system.audit()).differences
    assert difference.between == "PostgreSQL's counts and its ledger"


async def test_orphans_are_left_alone_while_events_are_set_aside(system: System, settings: Settings) -> None:
    """One of those events may be the end of that very hold."""
    await system.create("A", 10)
    hold = (await system.hold("A", 4, ttl_ms=1)).hold
    await forge(system, "1-3", kind="adjust", at="1000", n="1", events='[["A","many","","",0,0]]')
    await system.flush()
    await system.raw.delete(system.keys.hold(hold.token))
    await asyncio.sleep(0.01)
    await system.shard.expire_due()
    await system.flush()
    async with open_resources(settings) as resources:
        assert await end_orphans(resources, 1) == (0, 0)
        await quarantine.replay(system.pool, 0, 1, 3, payload='["A", 0, "mended", "", 0, 0]')
        assert await end_orphans(resources, 1) == (1, 0)


async def test_an_orphan_that_postgresql_knows_as_ended_is_let_go_of_and_gives_nothing_back(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    hold = (await system.hold("A", 4)).hold
    await system.shard.commit(hold.token)
    await system.flush()
    await system.raw.delete(system.keys.hold(hold.token))
    await system.raw.sadd(system.keys.orphans, hold.token)
    async with open_resources(settings) as resources:
        assert await end_orphans(resources, 1) == (0, 0)
    assert await system.shard.orphans(10) == []
    assert await system.counts("A") == (6, 0, 4)


async def test_an_orphan_that_postgresql_never_heard_of_is_reported_and_gives_nothing_back(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.sadd(system.keys.orphans, "ghost")
    async with open_resources(settings) as resources:
        assert await end_orphans(resources, 1) == (0, 1)
    assert await system.shard.orphans(10) == ["ghost"]
    assert await system.counts("A") == (10, 0, 0)


async def test_orphans_are_not_judged_before_the_flush_caught_up(system: System, settings: Settings) -> None:
    await system.create("A", 10)
    async with open_resources(settings) as resources:
        with pytest.raises(Unavailable, match="did not reach event"):
            await end_orphans(resources, 0.05)


async def test_a_sku_that_only_one_side_has_is_found(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.stock, "GHOST", "[1,0,0,1,0]")
    assert [difference.sku for difference in (await system.audit()).differences] == ["GHOST"]
    await system.raw.hdel(system.keys.stock, "GHOST", "A")
    assert [difference.sku for difference in (await system.audit()).differences] == ["A"]
