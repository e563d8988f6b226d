"""Failover: the master is killed under load, its replica takes over, and nothing that was promised is missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.embedded_server import LOOPBACK
from cli.processes import wait_until
from engine.settings import Settings
from tests.api.process import Api, running_api
from tests.failover.load import Load
from tests.failover.servers import Replicated
from tests.jobs.processes import Job, Processes, until
from tests.system import System, open_system

pytestmark = pytest.mark.anyio

READY_WITHIN_S = 8.0
"""From the kill to the first readyz that says ready, with Sentinels that wait DOWN_AFTER_MS before they act."""


@pytest.fixture
def watched(servers: Replicated, settings: Settings) -> Settings:
    """Settings of a system that finds its master through Sentinels, and sells what a replica confirmed."""
    servers.watch()
    return replace(settings, redis_url=servers.url, auth="off", access_log=False, commit_replicas=1, redis_retries=1)


@pytest.fixture
def api(watched: Settings, tmp_path: Path) -> Iterator[Api]:
    with running_api(watched, tmp_path / "api.log") as started:
        yield started


@asynccontextmanager
async def supervised_jobs(settings: Settings, directory: Path) -> AsyncIterator[None]:
    """Workers and a scheduler, started again when they end, as some of them do with their connection."""
    processes = Processes(settings, directory)
    starts = (lambda: processes.worker("flush"), lambda: processes.worker("housekeeping"), processes.scheduler)

    async def keep_running(start: Callable[[], Job]) -> None:
        while True:
            await asyncio.to_thread(start().process.wait)

    keepers = [asyncio.create_task(keep_running(start)) for start in starts]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        processes.kill_all()


async def flushed_holds(system: System) -> set[str]:
    return {row["id"] for row in await system.pool.fetch("SELECT id FROM holds")}


async def test_what_was_confirmed_or_flushed_survives_a_killed_master_and_nothing_is_oversold(
    servers: Replicated, watched: Settings, api: Api, tmp_path: Path
) -> None:
    sku = api.create(5_000)
    load = Load(api.url, sku)
    try:
        async with supervised_jobs(watched, tmp_path), open_system(watched) as system:
            await asyncio.sleep(3)
            before = set(load.held)
            flushed = await flushed_holds(system)
            killed_at = time.time()
            servers.master.kill()
            promoted_s = await asyncio.to_thread(servers.wait_promoted, READY_WITHIN_S)
            ready_s = promoted_s + await until(load.is_ready, "ready again", READY_WITHIN_S)
            # As its supervisor would; the Sentinels tell it by themselves, some seconds later.
            servers.master.start()
            assert wait_until(lambda: servers.master.told("role") is not None, 5)
            servers.master.ask("REPLICAOF", LOOPBACK, servers.replica.port)
            await until(lambda: _sold_since(load, killed_at), "something is sold again", 10)
            await asyncio.sleep(1)
            await load.end(10)
            assert (await system.audit(wait_s=10)).is_clean
        await assert_kept(watched, load, sku, flushed)
    finally:
        await load.cancel()
    assert len(before) > 20 and len(load.sold) > 20
    assert ready_s < READY_WITHIN_S
    print(  # noqa: T201
        f"\npromoted after {promoted_s:.1f} s, ready after {ready_s:.1f} s; {len(load.sold)} sold, "
        f"{len(load.lost)} holds acknowledged but neither confirmed nor flushed were lost; {dict(load.came_to)}"
    )


async def assert_kept(settings: Settings, load: Load, sku: str, flushed: set[str]) -> None:
    """What was sold or flushed is there, in Redis and in PostgreSQL, and nothing was sold twice."""
    async with open_system(settings) as system:
        rows = await system.pool.fetch("SELECT id, status FROM holds")
        status = {row["id"]: row["status"] for row in rows}
        assert {status.get(hold) for hold in load.sold} == {"committed"}
        assert flushed <= status.keys()
        assert not load.lost.keys() & flushed
        _, reserved, sold = await system.counts(sku)
        assert sold == sum(of == "committed" for of in status.values())
        assert reserved == sum(of == "held" for of in status.values())


async def _sold_since(load: Load, moment: float) -> bool:
    return any(at > moment for at in load.sold.values())
