"""Orphans are ended by what PostgreSQL proves; each test fails when a guard is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from engine.errors import Unavailable
from engine.holds import HoldAnswer
from engine.reader import Backlog
from engine.settings import Settings
from engine.trade import Trade, Traded
from jobs.orphans import end_orphans
from jobs.resources import Resources, open_resources
from persistence import quarantine
from tests.persistence.forging import forge
from tests.system import System, reserve

pytestmark = pytest.mark.anyio


def meanwhile(resources: Resources, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[None]]) -> None:
    """Let this happen once a reconciliation knows up to where PostgreSQL has to come."""
    find = resources.shard.backlog

    async def backlog() -> Backlog:
        found = await find()
        await act()
        return found

    monkeypatch.setattr(resources.shard, "backlog", backlog)


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


async def test_an_extended_hold_whose_record_is_lost_keeps_its_units_until_its_own_deadline(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    extended, _ = await asyncio.gather(system.hold("A", 4, ttl_ms=50), system.hold("A", 1, ttl_ms=50))
    await system.shard.extend(extended.hold.token, 600)
    await system.raw.delete(system.keys.hold(extended.hold.token))
    await asyncio.sleep(0.06)
    assert await system.shard.expire_due() == 1
    assert await system.shard.orphans(10) == [extended.hold.token]
    await system.flush()
    async with open_resources(settings) as resources:
        assert await end_orphans(resources, 1) == (0, 0)
    assert await system.counts("A") == (6, 4, 0)


async def test_what_is_sold_while_a_reconciliation_waits_is_not_given_back_though_its_record_is_lost(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.create("A", 10)
    token = (await system.hold("A", 4, ttl_ms=200)).hold.token
    await system.flush()
    async with open_resources(settings) as resources:

        async def sell() -> None:
            await system.shard.commit(token)
            await system.raw.delete(system.keys.hold(token))
            await asyncio.sleep(0.25)
            await system.shard.expire_due()

        meanwhile(resources, monkeypatch, sell)
        assert await end_orphans(resources, 1) == (0, 0)
    assert await system.counts("A") == (6, 0, 4)


async def test_units_are_given_back_once_though_a_record_is_forgotten_while_a_reconciliation_waits(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful = replace(settings, retention_s=1)
    monkeypatch.setattr(system.shard, "_settings", forgetful)
    await system.create("A", 10)
    token = (await system.hold("A", 4, ttl_ms=5)).hold.token
    await system.flush()
    async with open_resources(forgetful) as resources:

        async def give_back() -> None:
            assert isinstance(await system.shard.trade(Trade(ended=(token,))), Traded)
            await asyncio.sleep(1.1)
            await system.shard.expire_due()

        meanwhile(resources, monkeypatch, give_back)
        await end_orphans(resources, 1)
    assert await system.counts("A") == (10, 0, 0)


async def test_orphans_by_the_thousand_are_let_go_of_at_once_and_those_that_hold_something_are_ended(
    system: System, settings: Settings
) -> None:
    await system.create("A", 2_000)
    made = await asyncio.gather(*(system.hold("A", 1, ttl_ms=2_000) for _ in range(1_100)))
    tokens = [answer.hold.token for answer in made]
    await asyncio.gather(*(system.shard.commit(token) for token in tokens[1:]))
    await system.flush()
    await system.raw.delete(*(system.keys.hold(token) for token in tokens))
    await asyncio.sleep(2.1)
    await system.shard.expire_due()
    assert await system.raw.scard(system.keys.orphans) == 1_100
    async with open_resources(settings) as resources:
        first = resources.shard.expire_orphan

        async def expire_orphan(token: str, customer_id: str | None, lines: list[tuple[str, int]]) -> bool:
            ended = await first(token, customer_id, lines)
            await system.flush()
            return ended

        resources.shard.expire_orphan = expire_orphan  # type: ignore[method-assign]
        assert await end_orphans(resources, 1) == (1, 0)
    assert await system.raw.scard(system.keys.orphans) == 0
    assert await system.counts("A") == (901, 0, 1_099)


async def test_what_a_worker_of_an_older_version_took_for_one_hold_is_ended_hold_by_hold(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.orphans.ORPHAN_GRACE_S", 0.0)
    await system.create("A", 10)
    await asyncio.gather(*(system.hold("A", 2, ttl_ms=1) for _ in range(3)))
    await system.flush()
    (bundle,) = [str(each) for each in await system.raw.zrange(system.keys.deadlines, 0, -1)]
    await system.raw.zrem(system.keys.deadlines, bundle)
    await system.raw.sadd(system.keys.orphans, bundle)
    await asyncio.sleep(0.01)
    async with open_resources(settings) as resources:
        assert await end_orphans(resources, 1) == (3, 0)
    assert await system.shard.orphans(10) == []
    assert isinstance(await system.shard.reserve(reserve("A", 10)), HoldAnswer)
