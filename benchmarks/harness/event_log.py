"""The event log from the outside: how many events Redis has made, and how many PostgreSQL has applied."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.queries import read_queries

SHARD = 0
META = f"{{s{SHARD}}}:meta"
SAMPLE_S = 0.02
SQL = Path(__file__).with_name("books.sql")


class Sample(Struct, frozen=True):
    """Both counts at one moment."""

    at_s: float
    made: int
    applied: int


class EventLog:
    """Reads both counts."""

    def __init__(self, redis: Redis, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._redis = redis
        self._connection = connection
        self._sql = read_queries(SQL)["applied"]

    async def look(self) -> Sample:
        """Both counts now; of another epoch nothing is applied yet."""
        epoch, seq = await self._redis.hmget(META, ["epoch", "seq"])
        at_s = time.monotonic()
        applied = await self._connection.fetchval(self._sql, SHARD, int(epoch or 0))
        return Sample(at_s, int(seq or 0), applied or 0)

    async def watch(self, go_on: Callable[[Sample], bool], every_s: float = SAMPLE_S) -> list[Sample]:
        """Samples for as long as the last one is followed by another."""
        samples = [await self.look()]
        while go_on(samples[-1]):
            await asyncio.sleep(every_s)
            samples.append(await self.look())
        return samples


@asynccontextmanager
async def open_log(redis_url: str, database_url: str) -> AsyncIterator[EventLog]:
    """Connect to both servers."""
    redis = Redis.from_url(redis_url, decode_responses=True)
    connection = await asyncpg.connect(database_url)
    try:
        yield EventLog(redis, connection)
    finally:
        await connection.close()
        await redis.aclose()


def watch(
    redis_url: str, database_url: str, go_on: Callable[[Sample], bool], every_s: float = SAMPLE_S
) -> list[Sample]:
    """Samples for as long as `go_on` says so of the last one."""

    async def look() -> list[Sample]:
        async with open_log(redis_url, database_url) as log:
            return await log.watch(go_on, every_s)

    return asyncio.run(look())


def lags(samples: list[Sample]) -> list[tuple[float, float]]:
    """For each sample its moment, from the first one on, and the age of the oldest event not yet in PostgreSQL.

    When an event was made is told by the two samples around it, as if events came evenly between them.
    """
    found: list[tuple[float, float]] = []
    place = 0
    for sample in samples:
        at_s = sample.at_s - samples[0].at_s
        if sample.applied >= sample.made:
            found.append((at_s, 0.0))
            continue
        while samples[place].made <= sample.applied:
            place += 1
        found.append((at_s, max(sample.at_s - _made_at(samples, place, sample.applied + 1), 0.0)))
    return found


def _made_at(samples: list[Sample], place: int, seq: int) -> float:
    after = samples[place]
    if place == 0:
        return after.at_s
    before = samples[place - 1]
    return before.at_s + (after.at_s - before.at_s) * (seq - before.made) / (after.made - before.made)
