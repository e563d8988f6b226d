"""What the tests of the scripts ask of a shard, and what they look up behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from redis.asyncio import Redis

from engine.carts import CartRecord
from engine.holds import HoldAnswer, Line, Reserve
from engine.idempotency import fresh_token
from engine.keys import Keys
from engine.shard import Shard
from engine.stock import Adjust, StockAnswer
from engine.trade import Made, Put, Trade, Traded

KEYS = Keys()
KEEP_MS = 100_000
Dump = dict[str, Any]


async def create(shard: Shard, sku: str, on_hand: int, limit: int | None = None) -> None:
    request = Adjust(fresh_token(), "", sku, on_hand, "created", create=True, customer_limit=limit)
    assert isinstance(await shard.adjust(request), StockAnswer)


async def counts(shard: Shard, sku: str) -> tuple[int, int, int, int]:
    level = await shard.stock(sku)
    assert level is not None
    return level.available, level.reserved, level.sold, level.received


def reserve(
    lines: dict[str, int], token: str | None = None, customer: str | None = None, ttl_ms: int = 60_000
) -> Reserve:
    wanted = tuple(Line(sku, quantity) for sku, quantity in lines.items())
    return Reserve(token or fresh_token(), "f", customer, ttl_ms, wanted)


async def held(shard: Shard, lines: dict[str, int], **options: Any) -> HoldAnswer:
    answer = await shard.reserve(reserve(lines, **options))
    assert isinstance(answer, HoldAnswer), answer
    return answer


async def made(shard: Shard, sku: str, quantity: int, customer: str | None = None, ttl_ms: int = 60_000) -> str:
    """The token of a hold that a trade made."""
    now_ms, _ = await shard.texts("any")
    token = fresh_token()
    hold = Made(sku, quantity, customer, now_ms, now_ms + ttl_ms, token=token)
    assert isinstance(await shard.trade(Trade(made=(hold,))), Traded)
    return token


def claim(sku: str, quantity: int, customer: str | None = None, *, is_sold: bool = False) -> Made:
    return Made(sku, quantity, customer, 1_000, 9_000_000_000_000, is_sold)


def cart(token: str, version: int, keep_ms: int = KEEP_MS) -> Put:
    return Put("cart", token, msgspec.json.encode(CartRecord(version, "open", "bob", "GBP", 1, 2)), keep_ms)


def pointer(customer: str, token: str, keep_ms: int = KEEP_MS) -> Put:
    return Put("customer", customer, msgspec.json.encode((1, token)), keep_ms)


async def dump(redis: Redis) -> Dump:
    """Everything under the shard's tag."""
    found: Dump = {}
    async for key in redis.scan_iter(match="*", count=1_000):
        match await redis.type(key):
            case "string":
                found[key] = await redis.get(key)
            case "hash":
                found[key] = await redis.hgetall(key)
            case "zset":
                found[key] = await redis.zrange(key, 0, -1, withscores=True)
            case "stream":
                found[key] = await redis.xrange(key)
            case other:
                raise AssertionError(other)
    return found


async def gathered(shard: Shard, trades: list[Trade]) -> list[Any]:
    """In one turn of the loop, so in one batch, judged in order."""
    return list(await asyncio.gather(*(shard.trade(trade) for trade in trades)))
