"""`python -m benchmarks.inside.engine_rate SKU SECONDS`: holds made by calling the engine in this process."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from engine.connection import connect as connect_redis
from engine.fence import Fence
from engine.holds import HoldAnswer, Line, Reserve
from engine.idempotency import fresh_token
from engine.settings import read_settings
from engine.shard import Shard
from persistence.fence import verify
from persistence.pool import connect as connect_database

CALLERS = 1_024
TTL_MS = 600_000


async def measure(sku: str, seconds: float) -> dict[str, float]:
    """So many callers at once, each asking again as soon as it was answered."""
    settings = read_settings()
    pool = await connect_database(settings.require_database_url(), settings.database_pool)
    fence = Fence()
    await verify(settings, pool, fence)
    redis = connect_redis(settings, fence)
    shard = Shard(redis, fence, settings)
    done = 0
    end = 0.0

    async def ask() -> None:
        nonlocal done
        while time.perf_counter() < end:
            name = fresh_token()
            answer = await shard.reserve(Reserve(name, name[:16], name, TTL_MS, (Line(sku, 1),)))
            if not isinstance(answer, HoldAnswer):
                raise TypeError(f"{answer}")
            done += 1

    began, worked = time.perf_counter(), time.process_time()
    end = began + seconds
    await asyncio.gather(*(ask() for _ in range(CALLERS)))
    elapsed, worked = time.perf_counter() - began, time.process_time() - worked
    await shard.close()
    await redis.aclose()
    await pool.close()
    return {"done": done, "seconds": elapsed, "unheard": 0, "busy": round(worked / elapsed, 3)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(measure(sys.argv[1], float(sys.argv[2])))))
