"""What a job works with: its own connections, opened for one run, behind a verified fence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct
from redis.asyncio import Redis

from engine.connection import connect as connect_redis
from engine.fence import Fence
from engine.keys import Keys
from engine.settings import Settings
from engine.shard import Shard
from persistence import fence as verification
from persistence.pool import Pool
from persistence.pool import connect as connect_database

POOL_SIZE = 3


class Resources(Struct, frozen=True):
    """Connections of one run of a job; `redis` and `shard` reach only the Redis process that was verified."""

    settings: Settings
    keys: Keys
    pool: Pool
    redis: Redis
    shard: Shard


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Connect, verify, hand out, and close again. Raises Unavailable when Redis cannot be verified."""
    keys, fence = Keys(), Fence()
    pool = await connect_database(settings.require_database_url(), POOL_SIZE)
    redis = connect_redis(settings, fence)
    shard = Shard(redis, fence, settings, keys=keys)
    try:
        await verification.verify(settings, pool, fence, keys)
        yield Resources(settings, keys, pool, redis, shard)
    finally:
        await shard.close()
        await redis.aclose()
        await pool.close()
