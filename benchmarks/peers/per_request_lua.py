"""`per_request_lua`: one EVALSHA a request on the same Redis, with a small script that does what a hold needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis

from benchmarks.peers.litestar_peer import Hold, make_app
from benchmarks.peers.serving import arguments, serve

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("per_request.lua")
TAG = "{peer}:"
KEYS = (f"{TAG}stock", f"{TAG}reserved", f"{TAG}hold:", f"{TAG}deadlines", f"{TAG}events")


class PerRequestLua:
    """Stock as a hash, changed by a script."""

    def __init__(self, redis: Redis, sha: str) -> None:
        self._redis = redis
        self._sha = sha

    async def take(self, hold: Hold) -> bool:
        """Make a hold of one line, which is all that is asked of it."""
        stock, reserved, hold_prefix, deadlines, events = KEYS
        (line,) = hold.body.lines
        told = msgspec.json.encode((hold.body.customer_id, hold.created_at, hold.expires_at, hold.body.lines))
        keys = (stock, reserved, hold_prefix + hold.id, deadlines, events)
        values = (line.sku, line.quantity, hold.id, told, hold.body.ttl_s * 1000)
        left: Any = await self._redis.evalsha(self._sha, len(keys), *keys, *values)
        return int(left) >= 0


@asynccontextmanager
async def open_store(redis_url: str, prefix: str, skus: int, units: int) -> AsyncIterator[PerRequestLua]:
    """Fill the stock, and serve from it; afterwards all is removed."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=CONNECTIONS, timeout=None)
    redis = Redis.from_pool(pool)
    try:
        await redis.hset(KEYS[0], mapping={f"{prefix}-{number:05d}": units for number in range(skus)})
        yield PerRequestLua(redis, await redis.script_load(SCRIPT.read_text(encoding="utf-8")))
    finally:
        async for key in redis.scan_iter(f"{TAG}*", count=10_000):
            await redis.unlink(key)
        await redis.aclose()


if __name__ == "__main__":
    told = arguments(redis_url=str, prefix=str, skus=int, units=int)
    serve(make_app(lambda: open_store(told.redis_url, told.prefix, told.skus, told.units)), told.fd)
