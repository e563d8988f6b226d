"""`rebuild`: Redis filled again from PostgreSQL, over reading those rows and piping them into bare hashes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
from redis.asyncio import Redis

from benchmarks.findings.figures import Figure, Result, ratio, spread
from benchmarks.harness.holdfast import Holdfast
from benchmarks.harness.peer import REDIS_NUMBER
from benchmarks.harness.stage import Stage
from benchmarks.queries import read_queries
from benchmarks.scenarios.populated import full_system

TITLE = "rebuild of Redis from PostgreSQL"
ROUNDS = 2
PART_ROWS = 1_000
TAG = "{bare}:"
SQL = Path(__file__).with_name("rebuild.sql")


def run(stage: Stage) -> Result:
    """In turns, on the full system; nobody asks it for anything meanwhile."""
    result = Result(scenario="rebuild", title=TITLE, counted="rows")
    full = full_system(stage)
    ratios: list[float] = []
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        full.settle()
        rebuilt = full.command("rebuild")
        bare_s = asyncio.run(_bare(full))
        times.append((rebuilt["took_s"], bare_s))
        ratios.append(rebuilt["took_s"] / bare_s)
        stage.told(f"  rebuilt in {rebuilt['took_s']:.2f} s, bare rows in {bare_s:.2f} s")
        full.wait_ready()
        result.notes = [f"{rebuilt['skus']:,} SKUs, {rebuilt['holds']:,} holds"]
    result.figures = [
        ratio("rebuild, over bare rows", spread(ratios), "rebuild"),
        Figure("rebuild", "s", spread([ours for ours, _ in times])),
        Figure("bare rows", "s", spread([bare for _, bare in times])),
    ]
    return result


async def _bare(system: Holdfast) -> float:
    """Seconds to read the rows that a rebuild reads, and to write each as one field of a hash."""
    sql = read_queries(SQL)
    connection = await asyncpg.connect(system.runtime.database_url)
    redis = Redis.from_url(urlunsplit(urlsplit(system.runtime.redis_url)._replace(path=REDIS_NUMBER)))
    try:
        began = time.perf_counter()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for name in ("levels", "holds"):
                await _pipe(connection, redis, sql[name], TAG + name)
        return time.perf_counter() - began
    finally:
        await redis.flushdb(asynchronous=True)
        await redis.aclose()
        await connection.close()


async def _pipe(connection: asyncpg.Connection[asyncpg.Record], redis: Redis, query: str, key: str) -> None:
    pipe = redis.pipeline(transaction=False)
    async for row in connection.cursor(query, prefetch=PART_ROWS):
        name, *values = row.values()
        pipe.hset(key, name, msgspec.json.encode(values))
        if len(pipe) >= PART_ROWS:
            await pipe.execute()
    await pipe.execute()
