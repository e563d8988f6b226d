"""The machine and everything on it that a figure depends on."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import psutil
import redis
from msgspec import Struct

from benchmarks.harness.children import PROJECT_DIR
from benchmarks.harness.holdfast import PRODUCTION, Holdfast
from benchmarks.load import wrk
from benchmarks.queries import read_queries

LIBRARIES = ("uvicorn", "uvloop", "httptools", "litestar", "msgspec", "redis", "hiredis", "asyncpg", "rq")
GIT_TIMEOUT_S = 10
SQL = Path(__file__).with_name("machine.sql")


class Machine(Struct, frozen=True):
    """What it is, and what runs on it."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    filesystem: str
    python: str
    client: str
    commit: str | None
    libraries: Mapping[str, str]
    servers: Mapping[str, str]
    settings: Mapping[str, str]


def describe(holdfast: Holdfast, *, bundled: bool) -> Machine:
    """This machine, with the servers of a running system."""
    servers, settings = asyncio.run(_postgres(holdfast.runtime.database_url))
    with redis.Redis.from_url(holdfast.runtime.redis_url, decode_responses=True) as client:
        info = client.info()
        told = {**client.config_get("appendonly"), **client.config_get("appendfsync")}
    name = info.get("server_name", "redis")
    servers[name] = f"{info.get(f'{name}_version', info['redis_version'])}, {info.get('mem_allocator', '?')}"
    found = None if bundled else wrk.find_wrk()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=cores(),
        memory_bytes=psutil.virtual_memory().total,
        filesystem=_filesystem(holdfast.data_dir),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        client="the bundled client" if found is None else f"{wrk.version(found)}; open-loop: the bundled client",
        commit=_commit(),
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
        servers=servers,
        settings={**PRODUCTION, **{f"Redis {name}": value for name, value in told.items()}, **settings},
    )


def cores() -> int:
    """The cores that we may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


async def _postgres(url: str) -> tuple[dict[str, str], dict[str, str]]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(read_queries(SQL)["settings"])
    finally:
        await connection.close()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    version, *values = row.items()
    return {"PostgreSQL": version[1]}, {f"PostgreSQL {name}": value for name, value in values}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _filesystem(path: Path) -> str:
    inside = [part for part in psutil.disk_partitions(all=True) if path.resolve().is_relative_to(part.mountpoint)]
    return max(inside, key=lambda part: len(part.mountpoint)).fstype if inside else "?"


def _commit() -> str | None:
    """The commit of the sources; with a + where they differ from it."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],  # noqa: S607 - whichever git there is
            cwd=PROJECT_DIR,
            capture_output=True,
            check=False,
            timeout=GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode().strip() or None
