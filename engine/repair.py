"""Repair: what a shard in Redis holds that a tail of the log would change, read and written piece by piece.

Only behind a closed fence, as engine/restore.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from msgspec import Struct
from redis.asyncio import Redis

from engine.carts import customer_token, pointer_to
from engine.expiring import tokens_in
from engine.holds import HoldStatus, decode_record
from engine.keys import Keys
from engine.restore import CouponCount
from engine.stock import StockLevel, level_of_row
from engine.trade import count_field

PART = 1_000

T = TypeVar("T")


class LiveCart(Struct, frozen=True):
    """The cart that a customer's pointer leads to, and how long from now Redis keeps the pointer, in ms."""

    customer_id: str
    token: str
    keep_ms: int


class Repairer:
    """Reads and writes through a client that no fence guards."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def levels(self) -> dict[str, StockLevel]:
        """Every SKU's counts."""
        rows: Any = await self._redis.hgetall(self._keys.stock)
        return {sku: level_of_row(sku, row) for sku, row in rows.items()}

    async def deadlines(self) -> dict[str, int]:
        """The holds that are in a bundle by token, and the last deadline of each, in ms."""
        found: dict[str, int] = {}
        start = 0
        while True:
            part: Any = await self._redis.zrange(self._keys.deadlines, start, start + PART - 1, withscores=True)
            for bundle, score in part:  # in the order of their deadlines, so an extended hold's own comes last
                found.update(dict.fromkeys(tokens_in(bundle), int(score)))
            if len(part) < PART:
                return found
            start += PART

    async def not_ended(self, tokens: Iterable[str]) -> set[str]:
        """Those of these holds that are not known to have ended: they are held, or have no record."""
        found: set[str] = set()
        for part in _parts(tokens):
            texts: Any = await self._redis.mget([self._keys.hold(token) for token in part])
            records = [None if text is None else decode_record(text) for text in texts]
            pairs = zip(part, records, strict=True)
            found.update(token for token, record in pairs if record is None or record.status is HoldStatus.HELD)
        return found

    async def payments(self) -> dict[str, int]:
        """The orders that wait for their payment by token, and when each ceases to, in ms."""
        waiting: Any = await self._redis.zrange(self._keys.payments, 0, -1, withscores=True)
        return {token: int(score) for token, score in waiting}

    async def forget_payments(self, tokens: Iterable[str]) -> None:
        """Let these orders wait for no payment any more."""
        for part in _parts(tokens):
            await self._redis.zrem(self._keys.payments, *part)

    async def move_customers(self, deltas: Sequence[tuple[str, str, int]]) -> None:
        """Count units for customers, more or fewer: (SKU, customer, units)."""
        for part in _parts(deltas):
            fields = {f"{sku}|{customer}": units for sku, customer, units in part}
            counted = await self._redis.hmget(self._keys.customers, list(fields))
            pairs = zip(fields.items(), counted, strict=True)
            await self._set(self._keys.customers, {field: int(old or 0) + units for (field, units), old in pairs})

    async def set_coupon_counts(self, counts: Iterable[CouponCount]) -> None:
        """Orders that these coupons are counted for."""
        for part in _parts(counts):
            fields = {count_field(count.coupon_id, count.customer_id): count.orders for count in part}
            await self._set(self._keys.coupons, fields)

    async def _set(self, key: str, counts: Mapping[str, int]) -> None:
        positive: dict[Any, Any] = {field: count for field, count in counts.items() if count > 0}
        if positive:
            await self._redis.hset(key, mapping=positive)
        if gone := [field for field, count in counts.items() if count <= 0]:
            await self._redis.hdel(key, *gone)

    async def point(self, customers: Iterable[str], live: Mapping[str, LiveCart]) -> None:
        """Let each customer's pointer lead to the live cart, and to nothing where there is none."""
        for part in _parts(customers):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for customer in part:
                    cart = live.get(customer)
                    if cart is None:
                        pipeline.unlink(self._keys.cart_of(customer_token(customer)))
                    else:
                        pointer = pointer_to(customer, cart.token, cart.keep_ms)
                        pipeline.set(self._keys.cart_of(pointer.token), pointer.text, px=pointer.keep_ms)
                await pipeline.execute()

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove records."""
        for part in _parts(keys):
            await self._redis.unlink(*part)


def _parts(items: Iterable[T]) -> Iterable[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, PART)):
        yield part
