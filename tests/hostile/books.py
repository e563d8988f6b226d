"""The books: everything that a refused request must leave as it was, read past the API."""

from __future__ import annotations

import asyncio

from msgspec import Struct
from redis import Redis

from engine.keys import Keys
from engine.settings import Settings
from tests.system import open_system


class Books(Struct, frozen=True):
    """What stands in Redis: the counts of every SKU, the newest event, and how many records of each kind there are."""

    stock: dict[str, str]
    seq: str | None
    records: dict[str, int]


def read_books(redis_url: str) -> Books:
    """Read them in one go; nobody else may be writing."""
    keys = Keys()
    with Redis.from_url(redis_url, decode_responses=True) as client:
        records: dict[str, int] = {}
        for key in client.scan_iter(count=1_000):
            kind = str(key).split(":")[1]
            records[kind] = records.get(kind, 0) + 1
        return Books(client.hgetall(keys.stock), client.hget(keys.meta, "seq"), records)


def is_balanced(settings: Settings) -> bool:
    """Whether PostgreSQL, after all events are applied, has the same accounts as Redis, and no event was unreadable."""

    async def compare() -> bool:
        async with open_system(settings) as system:
            await system.flush()
            found = await system.audit(5)
            assert found.is_clean, found
            return found.skus > 0

    return asyncio.run(compare())
