"""Rebuild: an empty or outdated Redis is filled from PostgreSQL, live holds, carts and payment windows included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import asyncpg
from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis

from engine import carts, orders
from engine.carts import decode_cart
from engine.holds import ID_PREFIX, HoldRecord, HoldStatus
from engine.keys import Keys
from engine.orders import LIVE_KEPT_MS, TERMINAL, decode_order, kept_ms
from engine.restore import CouponCount, KeptCart, KeptHold, KeptMemory, KeptOrder, Restorer
from engine.settings import Settings
from engine.stock import StockLevel
from persistence.flush import Offset, drain_once, read_offset
from persistence.moments import ms_of, timestamp_of
from persistence.pool import Connection
from persistence.sql import queries

PART_ROWS = 1_000
DRAIN_EVENTS = 5_000
MIN_KEEP_MS = 1_000

T = TypeVar("T")


class Rebuilt(Struct, frozen=True):
    """What was put back, and the epoch that began with it."""

    epoch: int
    drained_events: int
    skus: int = 0
    holds: int = 0
    customers: int = 0
    memories: int = 0
    carts: int = 0
    orders: int = 0
    coupons: int = 0


async def rebuild_shard(connection: Connection, redis: Redis, keys: Keys, settings: Settings) -> Rebuilt:
    """Make Redis what PostgreSQL says, after applying whatever the old log still holds beyond PostgreSQL's offset.

    The caller holds the shard's lock (`lock_shard`) on another connection. The new epoch is stored in PostgreSQL before
    anything is wiped and in Redis after everything is in, so a crash at any point leaves a closed Redis that the next
    verification rebuilds again. Raises LogGap when the old log misses events; nothing is wiped then.
    """
    restorer = Restorer(redis, keys)
    old = await restorer.meta()
    drained = await _drain_rest(connection, redis, keys)  # most of it, and a gap shows before anything is closed
    await restorer.close()
    drained += await _drain_rest(connection, redis, keys)
    offset = await read_offset(connection, keys.shard) or Offset(0, 0)
    epoch = max(offset.epoch, old.epoch or 0) + 1
    async with connection.transaction():
        await connection.execute(queries("flush")["lock_offset"], keys.shard)
        moved = await connection.execute(queries("flush")["move_offset"], keys.shard, epoch, 0)
        if moved == "UPDATE 0":
            await connection.execute(queries("flush")["insert_offset"], keys.shard, epoch, 0)
    await restorer.wipe()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rebuilt = await _put_back(connection, restorer, keys, settings, Rebuilt(epoch, drained))
    installation = await connection.fetchval(queries("rebuild")["read_installation"])
    await restorer.open(epoch, installation)
    return rebuilt


async def _put_back(
    connection: Connection, restorer: Restorer, keys: Keys, settings: Settings, begun: Rebuilt
) -> Rebuilt:
    """Write everything that PostgreSQL knows at this moment; returns `begun` with the counts of it."""
    sql = queries("rebuild")
    now_ms, retention_ms = await restorer.now_ms(), settings.retention_s * 1000
    now, since = timestamp_of(now_ms), timestamp_of(now_ms - retention_ms)
    live_since = timestamp_of(now_ms - retention_ms - LIVE_KEPT_MS)

    def parts(query: str, read: Callable[[asyncpg.Record], T], *arguments: object) -> AsyncIterator[list[T]]:
        return _parts(connection, sql[query], read, *arguments)

    return replace(
        begun,
        skus=await restorer.put_levels(parts("list_levels", _level)),
        holds=await restorer.put_holds(parts("list_holds", lambda row: _kept_hold(row, now_ms, retention_ms), since)),
        customers=await restorer.put_customers(
            parts("list_customers", lambda row: (row["sku"], row["customer_id"], row["units"]))
        ),
        memories=await restorer.put_memories(
            parts("list_memories", lambda row: _kept_memory(row, now_ms, retention_ms), keys.shard, since)
        ),
        carts=await restorer.put_carts(
            parts("list_carts", lambda row: _kept_cart(row, now_ms, retention_ms), now, since)
        ),
        orders=await restorer.put_orders(
            parts("list_orders", lambda row: _kept_order(row, now_ms, settings), since, live_since, list(TERMINAL))
        ),
        coupons=await restorer.put_coupon_counts(
            parts("list_coupon_counts", lambda row: CouponCount(row["coupon_id"], row["customer_id"], row["orders"]))
        ),
    )


async def _drain_rest(connection: Connection, redis: Redis, keys: Keys) -> int:
    if await read_offset(connection, keys.shard) is None:
        return 0
    total = 0
    while True:
        drained = await drain_once(connection, redis, keys, DRAIN_EVENTS)
        if drained.events == 0:
            return total
        total += drained.events


async def _parts(
    connection: Connection, query: str, read: Callable[[asyncpg.Record], T], *arguments: object
) -> AsyncIterator[list[T]]:
    part: list[T] = []
    async for row in connection.cursor(query, *arguments, prefetch=PART_ROWS):
        part.append(read(row))
        if len(part) >= PART_ROWS:
            yield part
            part = []
    if part:
        yield part


def _level(row: asyncpg.Record) -> StockLevel:
    return StockLevel(
        row["sku"], row["available"], row["reserved"], row["sold"], row["received"], row["customer_limit"]
    )


def _kept_hold(row: asyncpg.Record, now_ms: int, retention_ms: int) -> KeptHold:
    status, expires_ms = HoldStatus(row["status"]), ms_of(row["expires_at"])
    record = HoldRecord(
        status=status,
        customer=row["customer_id"] or "",
        created_ms=ms_of(row["created_at"]),
        expires_ms=expires_ms,
        ttl_ms=row["ttl_ms"],
        fingerprint=row["fingerprint"],
        lines=tuple(zip(row["skus"], row["quantities"], strict=True)),
    )
    # A live hold is kept from now on, however long ago its deadline was: its units must not evaporate with it.
    ended_ms = max(expires_ms, now_ms) if status is HoldStatus.HELD else ms_of(row["settled_at"])
    return KeptHold(row["id"].removeprefix(ID_PREFIX), record, _keep(ended_ms, now_ms, retention_ms))


def _kept_memory(row: asyncpg.Record, now_ms: int, retention_ms: int) -> KeptMemory:
    return KeptMemory(row["token"], row["memory"], _keep(ms_of(row["at"]), now_ms, retention_ms))


def _kept_cart(row: asyncpg.Record, now_ms: int, retention_ms: int) -> KeptCart:
    record = decode_cart(row["record"])
    if record.status in ("open", "paying"):
        keep_ms = _keep(record.expires_ms, now_ms, 0)
    else:
        keep_ms = _keep(ms_of(row["updated_at"]), now_ms, retention_ms)
    return KeptCart(row["id"].removeprefix(carts.ID_PREFIX), record, keep_ms)


def _kept_order(row: asyncpg.Record, now_ms: int, settings: Settings) -> KeptOrder:
    record = decode_order(row["record"])
    # As with a hold: one that waits for its payment is kept from now on, so that its window does end.
    since_ms = now_ms if record.is_waiting else record.updated_ms
    return KeptOrder(
        row["id"].removeprefix(orders.ID_PREFIX), record, _keep(since_ms, now_ms, kept_ms(record, settings))
    )


def _keep(since_ms: int, now_ms: int, retention_ms: int) -> int:
    return max(since_ms - now_ms + retention_ms, MIN_KEEP_MS)
