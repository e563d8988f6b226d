"""The two sites of a run: `holdfast up` with its own servers, and one on servers of the run's own, behind proxies."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from msgspec import Struct

from benchmarks.connections import Connections
from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from cli.embedded_server import EmbeddedServer
from tests.faults import disk_faults
from tests.faults.clock_faults import CLOCKED
from tests.faults.observe import Site
from tests.faults.proxy import Proxy
from tests.faults.system import POLL_S, System

HIGH_WATER_EVENTS = 3_000
SETTINGS = {
    "HOLDFAST_HIGH_WATER_EVENTS": str(HIGH_WATER_EVENTS),
    "HOLDFAST_WORKERS": "2",
    "HOLDFAST_FLUSH_EVERY_S": "1",
    "HOLDFAST_EXPIRE_EVERY_S": "1",
}
CLOCKED_SETTINGS = {"PYTHONPATH": str(CLOCKED), "HOLDFAST_PAYMENT_WINDOW_S": "3600"}
SMALL_WAL = {"max_wal_size": "64MB", "min_wal_size": "32MB"}


class Place(Struct):
    """A running system, how it is observed, what is between it and its servers, and what kinds of fault it can take."""

    system: System
    site: Site
    proxies: dict[str, Proxy]
    kinds: frozenset[str]


@contextmanager
def directory() -> Iterator[Path]:
    """A directory of the run's own, which it leaves behind only if it failed."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-faults-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def up_site(data_dir: Path) -> AsyncIterator[Place]:
    """`holdfast up` with its own servers, which it starts again when they die."""
    system = System(data_dir, SETTINGS)
    try:
        await system.start()
        runtime = system.runtime()
        site = _observe(system, runtime.redis_url, runtime.database_url)
        yield Place(system, site, {}, frozenset({"up"}))
        await site.close()
    finally:
        await system.stop()


@asynccontextmanager
async def proxied_site(data_dir: Path) -> AsyncIterator[Place]:
    """`holdfast up` on servers of the run's own: each behind a proxy and, where that can be had, on a small disk."""
    mounted = [name for name, size_mb in disk_faults.SIZES_MB.items() if disk_faults.mount(data_dir / name, size_mb)]
    redis = EmbeddedRedis(data_dir / "redis", log_path=data_dir / "redis.log")
    postgres = EmbeddedPostgres(data_dir / "postgres", log_path=data_dir / "postgres.log", options=SMALL_WAL)
    servers: dict[str, EmbeddedServer] = {"redis": redis, "postgres": postgres}
    proxies: dict[str, Proxy] = {}
    keeper: asyncio.Task[None] | None = None
    system: System | None = None
    try:
        for server in servers.values():
            server.start()
        for server in servers.values():
            server.wait_ready()
        keeper = asyncio.create_task(_keep(servers))
        urls = {}
        for name, server in servers.items():
            proxies[name] = Proxy(server.port, lambda role: _pids(system, role))
            urls[name] = server.url.replace(f":{server.port}", f":{await proxies[name].start()}")
        settings = {
            **SETTINGS,
            "HOLDFAST_REDIS_URL": urls["redis"],
            "HOLDFAST_DATABASE_URL": urls["postgres"],
            **CLOCKED_SETTINGS,
        }
        system = System(data_dir, settings)
        await system.start()
        site = _observe(system, redis.url, postgres.url)
        kinds = {"proxies", "disks"} if len(mounted) == len(disk_faults.SIZES_MB) else {"proxies"}
        yield Place(system, site, proxies, frozenset(kinds))
        await site.close()
    finally:
        if system is not None:
            await system.stop()
        for proxy in proxies.values():
            await proxy.stop()
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        for server in servers.values():
            server.stop()
        for name in mounted:
            disk_faults.unmount(data_dir / name)


def _observe(system: System, redis_url: str, database_url: str) -> Site:
    api, root = Connections(f"{system.api_url}/api/v1", {}), Connections(system.api_url, {})
    return Site(api, root, redis_url, database_url)


def _pids(system: System | None, role: str) -> list[int]:
    if system is None:
        return []
    if role == "api":
        return system.pids("api")
    roles = ("flush", "housekeeping", "scheduler")
    return [pid for each in roles for pid in (*system.pids(each), *system.children(each))]


async def _keep(servers: dict[str, EmbeddedServer]) -> None:
    """Start again what ended, as `up` does with servers of its own."""
    while True:
        for server in servers.values():
            if server.process is not None and server.process.poll() is not None:
                await asyncio.sleep(0.2)
                server.start()
        await asyncio.sleep(POLL_S)
