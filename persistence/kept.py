"""Kept: PostgreSQL's rows as Redis keeps them, and for how long from now on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import asyncpg

from engine import carts, orders
from engine.carts import decode_cart
from engine.holds import ID_PREFIX, HoldRecord, HoldStatus
from engine.orders import decode_order, kept_ms
from engine.restore import LIVE_GRACE_MS, SWEEP_GRACE_MS, CouponCount, KeptCart, KeptHold, KeptMemory, KeptOrder
from engine.settings import Settings
from engine.stock import StockLevel
from persistence.holds import lines_of
from persistence.pool import LONG_TIMEOUT_S, Connection

PART_ROWS = 1_000
MIN_KEEP_MS = 1_000

T = TypeVar("T")


async def in_parts(
    connection: Connection, query: str, read: Callable[[asyncpg.Record], T], *arguments: object
) -> AsyncIterator[list[T]]:
    """What a query finds, PART_ROWS at a time, within the caller's transaction."""
    part: list[T] = []
    async for row in connection.cursor(query, *arguments, prefetch=PART_ROWS, timeout=LONG_TIMEOUT_S):
        part.append(read(row))
        if len(part) >= PART_ROWS:
            yield part
            part = []
    if part:
        yield part


def level_of(row: asyncpg.Record) -> StockLevel:
    return StockLevel(
        row["sku"], row["available"], row["reserved"], row["sold"], row["received"], row["customer_limit"]
    )


def units_of_customer(row: asyncpg.Record) -> tuple[str, str, int]:
    return row["sku"], row["customer_id"], row["units"]


def coupon_count(row: asyncpg.Record) -> CouponCount:
    return CouponCount(row["coupon_id"], row["customer_id"], row["orders"])


def kept_hold(row: asyncpg.Record, now_ms: int, retention_ms: int) -> KeptHold:
    status, expires_ms = HoldStatus(row["status"]), row["expires_at"]
    record = HoldRecord(
        status=status,
        customer=row["customer_id"] or "",
        created_ms=row["created_at"],
        expires_ms=expires_ms,
        ttl_ms=row["ttl_ms"],
        fingerprint=row["fingerprint"],
        lines=lines_of(row),
    )
    token = row["id"].removeprefix(ID_PREFIX)
    if status is HoldStatus.HELD:
        # Kept long after its deadline, and if that was long ago, from now on: its units must not evaporate.
        return KeptHold(token, record, keep_ms(max(expires_ms + LIVE_GRACE_MS, now_ms), now_ms, retention_ms))
    remembered_ms = keep_ms(row["settled_at"], now_ms, retention_ms)
    in_bundle_ms = expires_ms - now_ms + SWEEP_GRACE_MS if expires_ms > now_ms else 0
    return KeptHold(token, record, max(remembered_ms, in_bundle_ms))


def kept_memory(row: asyncpg.Record, now_ms: int, retention_ms: int) -> KeptMemory:
    return KeptMemory(row["token"], row["memory"], keep_ms(row["at"], now_ms, retention_ms))


def kept_cart(row: asyncpg.Record, now_ms: int, retention_ms: int) -> KeptCart:
    record = decode_cart(row["record"])
    if record.status in carts.LIVE:
        kept = keep_ms(record.expires_ms, now_ms, 0)
    else:
        kept = keep_ms(row["updated_at"], now_ms, retention_ms)
    return KeptCart(row["id"].removeprefix(carts.ID_PREFIX), record, kept)


def kept_order(row: asyncpg.Record, now_ms: int, settings: Settings) -> KeptOrder:
    record = decode_order(row["record"])
    # As with a hold: one that waits for its payment is kept from now on, so that its window does end.
    since_ms = now_ms if record.is_waiting else record.updated_ms
    return KeptOrder(
        row["id"].removeprefix(orders.ID_PREFIX), record, keep_ms(since_ms, now_ms, kept_ms(record, settings))
    )


def keep_ms(since_ms: int, now_ms: int, retention_ms: int) -> int:
    """What is left of a retention that began at `since_ms`, and a moment in any case."""
    return max(since_ms - now_ms + retention_ms, MIN_KEEP_MS)
