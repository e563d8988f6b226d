"""What the deadlines in Redis say, hold by hold."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from engine.expiring import tokens_in
from engine.holds import HoldStatus, decode_record
from engine.keys import Keys


async def deadlines_in(redis: Redis, keys: Keys) -> dict[str, float]:
    """Every hold that is in a bundle by token, and the last of its deadlines in ms."""
    bundles: Any = await redis.zrange(keys.deadlines, 0, -1, withscores=True)
    return {token: deadline for bundle, deadline in bundles for token in tokens_in(bundle)}


async def live_deadlines_in(redis: Redis, keys: Keys) -> dict[str, float]:
    """Those of them that are held."""
    found = await deadlines_in(redis, keys)
    texts = await redis.mget([keys.hold(token) for token in found]) if found else []
    records = [None if text is None else decode_record(text) for text in texts]
    return {
        token: deadline
        for (token, deadline), record in zip(found.items(), records, strict=True)
        if record is None or record.status is HoldStatus.HELD
    }
