"""PostgreSQL goes away in the middle of a flush and comes back; the log keeps what it could not take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from cli.embedded import EmbeddedPostgres
from engine.keys import Keys
from engine.settings import Settings
from persistence.audit import Audit, audit
from persistence.pool import Pool
from tests.jobs.processes import Processes, RunOnce, applied, assert_exactly_once
from tests.own_postgres import own_postgres
from tests.system import System, open_system, reserve

pytestmark = pytest.mark.anyio


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server of the test's own."""
    with own_postgres() as server:
        yield server


@pytest.fixture
def settings(clean_redis_url: str, postgres: EmbeddedPostgres) -> Settings:
    return Settings(redis_url=clean_redis_url, database_url=postgres.url, flush_every_s=1)


async def test_postgresql_restarted_in_the_middle_of_a_flush_ends_equal_to_redis(
    system: System, processes: Processes, postgres: EmbeddedPostgres
) -> None:
    await system.create("A", 100_000)
    worker = processes.worker("flush")
    processes.scheduler()
    await applied(system)
    sold = 0
    for turn in range(12):
        answers = await asyncio.gather(*(system.shard.reserve(reserve("A")) for _ in range(50)))
        sold += len(answers)
        if turn == 4:
            await asyncio.to_thread(postgres.stop)
        if turn == 8:
            postgres.start()
            await asyncio.to_thread(postgres.wait_ready)
        await asyncio.sleep(0.05)
    took = await applied(system, 30)
    print(f"\nPostgreSQL had everything {took:.1f} s after the load")  # noqa: T201
    assert await system.counts("A") == (100_000 - sold, sold, 0)
    assert worker.process.poll() is None
    await assert_exactly_once(system)


async def test_a_reconciliation_that_postgresql_goes_away_from_is_a_warning_and_leaves_what_the_last_one_found(
    system: System,
    settings: Settings,
    postgres: EmbeddedPostgres,
    job: RunOnce,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await job()
    found = await system.last_audit()
    assert found is not None

    async def audit_without_postgresql(redis: Redis, pool: Pool, keys: Keys, wait_s: float) -> Audit:
        await asyncio.to_thread(postgres.stop)
        return await audit(redis, pool, keys, wait_s)

    monkeypatch.setattr("jobs.reconcile.audit", audit_without_postgresql)
    for _ in range(2):  # it goes away in the midst of the first, and is away when the second begins
        await job()
    assert caplog.text.count("the books were not compared: PostgreSQL is unavailable") == 2
    postgres.start()
    await asyncio.to_thread(postgres.wait_ready)
    async with open_system(settings) as after:
        assert await after.last_audit() == found
