"""A Redis that comes back as it was at an earlier moment."""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis

from tests.system import System


class Copy:
    """Everything that Redis held at one moment, as an older append-only file would bring it back."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(url)
        self._dumps: list[tuple[Any, Any, int]] = []

    async def take(self) -> Copy:
        for key in await self._redis.keys("*"):
            left_ms, dump = await self._redis.pttl(key), await self._redis.dump(key)
            if dump is not None:
                self._dumps.append((key, dump, int(time.time() * 1000) + left_ms if left_ms > 0 else 0))
        return self

    async def put_back(self) -> None:
        await self._redis.flushall()
        for key, dump, until_ms in self._dumps:
            await self._redis.restore(key, until_ms, dump, absttl=True)
        await self._redis.aclose()


async def fall_back(system: System, copy: Copy) -> None:
    """Everything is flushed, and then Redis comes back as it was."""
    await system.flush()
    await copy.put_back()
    system.fence.close("it came back")
