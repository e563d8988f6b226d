"""Reconcile: the job leaves what it found for the metrics; what could not be compared leaves that as it is."""

from __future__ import annotations

import time

import asyncpg
import pytest
import redis

from engine.errors import Unavailable
from engine.stock import StockLevel, row_of_level
from jobs.reconcile import run as reconcile
from persistence.audit import COSTLY_MS, LastAudit
from tests.jobs.processes import RunOnce
from tests.persistence.forging import forge
from tests.system import System

pytestmark = pytest.mark.anyio


async def test_the_job_leaves_what_it_found_where_and_when(system: System, job: RunOnce) -> None:
    for sku in ("A", "B"):
        await system.create(sku, 10)
    await system.flush()
    assert await system.last_audit() is None
    before_ms = int(time.time() * 1_000)
    await job()
    clean = await told(system)
    assert clean == LastAudit(0, 0, 0, clean.at_ms)
    assert before_ms <= clean.at_ms <= time.time() * 1_000
    assert tuple(await system.pool.fetchrow("SELECT shard, epoch, seq, skus FROM audits") or ()) == (0, 1, 2, 2)

    for sku in ("A", "B"):
        await system.raw.hset(system.keys.stock, sku, row_of_level(StockLevel(sku, 11, 0, 0, 11, None)))
    await system.raw.sadd(system.keys.orphans, "ghost")
    await job()
    dirty = await told(system)
    assert dirty == LastAudit(2, 0, 1, dirty.at_ms)
    assert dirty.at_ms > clean.at_ms

    await forge(system, "1-3", kind="adjust", at="1000", n="1", events='[["A","many","","",0,0]]')
    await system.flush()
    await job()
    last = await told(system)
    assert last == LastAudit(2, 1, 0, last.at_ms)  # orphans are not judged while an event is set aside
    assert tuple(await system.pool.fetchrow("SELECT shard, epoch, seq, skus FROM audits") or ()) == (0, 1, 3, 2)


async def test_the_job_leaves_the_books_alone_for_twenty_times_as_long_as_a_long_audit_took(
    system: System, job: RunOnce
) -> None:
    await system.flush()
    await job()
    took_ms = await system.pool.fetchval("SELECT took_ms FROM audits")
    assert 0 < took_ms < COSTLY_MS

    for took_ms, ago_ms, comes in (
        (1_000, 19_000, False),
        (1_000, 20_001, True),
        (999, 0, True),
        (60_000, 1_000, False),
    ):
        await system.pool.execute(
            "UPDATE audits SET took_ms = $1, skus = 77, at = now() - $2 * interval '1 ms'", took_ms, ago_ms
        )
        await job()
        assert (await system.pool.fetchval("SELECT skus FROM audits") != 77) is comes, (took_ms, ago_ms)

    await reconcile(system.settings, fix=False)  # whoever asks for it gets one
    assert await system.pool.fetchval("SELECT skus FROM audits") == 0


async def test_an_audit_that_the_flush_did_not_reach_leaves_what_the_last_one_found(
    system: System, job: RunOnce, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await system.flush()
    await job()
    found = await told(system)
    await system.create("A", 10)
    monkeypatch.setattr("jobs.reconcile.JOB_WAIT_S", 0.1)
    await job()
    assert await told(system) == found
    assert "the books were not compared: PostgreSQL did not reach event" in caplog.text


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable("Redis is empty"),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("gone"),
        redis.ConnectionError("gone"),
    ],
    ids=repr,
)
async def test_a_fault_is_a_warning_and_leaves_what_the_last_audit_found(
    system: System, job: RunOnce, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    await job()
    found = await told(system)

    async def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("jobs.reconcile.audit", fail)
    await job()
    assert await told(system) == found
    (said,) = [record for record in caplog.records if record.name == "jobs.reconcile"]
    assert said.levelname == "WARNING"
    assert "the books were not compared" in said.message


async def told(system: System) -> LastAudit:
    """What the last audit found, of which there was one."""
    found = await system.last_audit()
    assert found is not None
    return found
