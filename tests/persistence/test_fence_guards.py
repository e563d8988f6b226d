"""Guards of the fence; each test fails when its guard is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from engine.connection import connect
from engine.errors import Unavailable
from engine.events import LogGap
from engine.fence import Fence
from engine.settings import Settings
from persistence import fence as verification
from persistence.pool import Pool
from persistence.pool import connect as connect_database
from persistence.rebuild import WAYS_OUT, GivenUp, rebuild_shard
from persistence.sql import queries
from tests.persistence.forging import lose_second
from tests.system import System

pytestmark = pytest.mark.anyio


@pytest.fixture
async def impatient_pool(system: System, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """Connections that wait half a second for a lock."""
    monkeypatch.setattr("persistence.pool.LOCK_TIMEOUT_MS", 500)
    pool = await connect_database(system.settings.require_database_url(), 2)
    yield pool
    pool.terminate()


async def test_several_processes_that_find_redis_empty_rebuild_it_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(*arguments: Any) -> Any:
        await asyncio.sleep(0.2)
        return await rebuild_shard(*arguments)

    monkeypatch.setattr("persistence.fence.rebuild_shard", slowly)
    await system.create("A", 10)
    await system.flush()
    await system.raw.flushall()
    fences = [Fence() for _ in range(3)]
    pools = [await connect_database(system.settings.require_database_url(), 2) for _ in fences]
    verdicts = await asyncio.gather(
        *(verification.verify(system.settings, pool, fence) for pool, fence in zip(pools, fences, strict=True))
    )
    for pool in pools:
        pool.terminate()
    assert sorted(verdicts) == ["rebuilt", "verified", "verified"]
    assert {fence.epoch for fence in fences} == {2}


async def test_a_redis_of_an_older_epoch_is_rebuilt_however_long_its_log_is(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("UPDATE flush_offsets SET epoch = 3, seq = 0")
    assert await system.verify() == "rebuilt"
    assert system.fence.epoch == 4
    assert await system.counts("A") == (10, 0, 0)


async def test_a_redis_of_a_later_epoch_than_postgresql_is_left_to_an_operator(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.meta, "epoch", "5")
    with pytest.raises(Unavailable, match="restored from a backup"):
        await system.verify()
    assert await system.raw.hget(system.keys.meta, "epoch") == "5"
    with pytest.raises(LogGap, match="up to 5-1, and PostgreSQL has those up to 1-1 only"):
        await verification.rebuild(system.settings, system.pool)
    rebuilt = await verification.rebuild(system.settings, system.pool, given_up=GivenUp(missing=True))
    assert rebuilt.epoch == 6


async def test_a_rebuild_leaves_a_redis_of_another_installation_as_it_is(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.meta, "installation", "another")
    with pytest.raises(Unavailable, match="belongs to another database"):
        await verification.rebuild(system.settings, system.pool)
    assert await system.raw.hget(system.keys.meta, "epoch") == "1"
    assert await system.counts("A") == (10, 0, 0)


async def test_readiness_tells_that_a_rebuild_goes_on(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.flushall()
    system.fence.close("emptied")
    seen: list[str] = []

    async def watched(*arguments: Any) -> Any:
        seen.append(system.fence.reason)
        return await rebuild_shard(*arguments)

    monkeypatch.setattr(verification, "rebuild_shard", watched)
    assert await system.verify() == "rebuilt"
    assert seen == ["Redis is being rebuilt from PostgreSQL"]


async def test_who_waits_for_another_process_that_mends_redis_says_so_also_when_the_wait_was_too_long(
    system: System, impatient_pool: Pool
) -> None:
    system.fence.close("Redis is unavailable")
    async with system.pool.acquire() as other:
        await other.execute(queries("rebuild")["lock_shard"], system.keys.shard)
        with pytest.raises(Unavailable) as raised:
            await verification.verify(system.settings, impatient_pool, system.fence)
        await other.execute(queries("rebuild")["unlock_shard"], system.keys.shard)
    told_while_it_waited = system.fence.reason
    assert told_while_it_waited == "another process is verifying or mending Redis"
    assert raised.value.reason == f"{told_while_it_waited}: canceling statement due to lock timeout"
    assert await verification.verify(system.settings, impatient_pool, system.fence) == "verified"


async def test_a_wait_for_a_drainer_is_not_told_as_one_for_another_process_that_mends(
    system: System, impatient_pool: Pool
) -> None:
    system.fence.close("test")
    async with system.pool.acquire() as drainer, drainer.transaction():
        await drainer.execute(queries("flush")["lock_offset"], system.keys.shard)
        with pytest.raises(Unavailable, match=r"^PostgreSQL is unavailable: canceling statement due to lock timeout"):
            await verification.verify(system.settings, impatient_pool, system.fence)
    assert system.fence.reason == "test"


async def test_a_log_that_misses_events_is_told_as_that(system: System) -> None:
    await lose_second(system)
    await system.raw.hdel(system.keys.meta, "epoch")  # as a rebuild that broke off leaves it
    system.fence.close("test")
    with pytest.raises(Unavailable) as raised:
        await system.verify()
    assert raised.value.reason == f"events are missing in the log: shard 0 expected event 1-2, found 1-3: {WAYS_OUT}"


async def test_a_redis_that_was_replaced_while_it_was_verified_is_not_trusted(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = iter(["before", "after"])

    async def changing(_: Redis) -> str:
        return next(run_ids)

    monkeypatch.setattr(verification, "_run_id", changing)
    system.fence.close("test")
    with pytest.raises(Unavailable, match="changed while it was being verified"):
        await system.verify()
    assert not system.fence.is_open


async def test_an_empty_database_does_not_adopt_a_redis_whose_events_were_flushed_elsewhere(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("DELETE FROM flush_offsets")
    with pytest.raises(Unavailable, match="flushed elsewhere"):
        await system.verify()
    assert await system.pool.fetchval("SELECT count(*) FROM flush_offsets") == 0


async def test_an_empty_database_does_not_begin_on_a_redis_that_holds_stock_without_its_record(system: System) -> None:
    await system.create("A", 10)
    await system.raw.delete(system.keys.meta)
    await system.pool.execute("DELETE FROM flush_offsets")
    with pytest.raises(Unavailable, match="without its record"):
        await system.verify()
    assert not await system.raw.exists(system.keys.meta)


async def test_an_empty_database_goes_on_with_a_redis_of_which_nothing_was_flushed(system: System) -> None:
    await system.create("A", 10)
    await system.pool.execute("DELETE FROM flush_offsets")
    assert await system.verify() == "verified"
    await system.flush()
    assert (await system.audit()).is_clean


async def test_a_connection_to_a_server_process_that_nobody_verified_carries_no_command(
    system: System, settings: Settings
) -> None:
    fence = Fence()
    fence.open("another run", 1)
    client = connect(settings, fence)
    with pytest.raises(Exception, match="restarted or was replaced"):
        await client.set("written", "1")
    await client.aclose()
    assert not fence.is_open
    assert not await system.raw.exists("written")


async def test_a_redis_that_would_forget_keys_when_it_is_full_is_not_trusted(system: System) -> None:
    system.fence.close("begin anew")
    await system.raw.config_set("maxmemory-policy", "volatile-lru")
    try:
        with pytest.raises(Unavailable, match=r"maxmemory-policy volatile-lru\): set it to noeviction"):
            await system.verify()
    finally:
        await system.raw.config_set("maxmemory-policy", "noeviction")
    assert not system.fence.is_open
    assert await system.verify() == "verified"


async def test_a_redis_without_a_file_is_trusted_and_told_of(system: System, caplog: pytest.LogCaptureFixture) -> None:
    await system.raw.config_set("appendonly", "no")
    try:
        assert await system.verify() == "verified"
    finally:
        await system.raw.config_set("appendonly", "yes")
    assert "set appendonly yes" in caplog.text
    caplog.clear()
    assert await system.verify() == "verified"
    assert caplog.text == ""
