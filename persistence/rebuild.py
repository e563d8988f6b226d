"""Rebuild: an empty or outdated Redis is filled from PostgreSQL, live holds with their deadlines included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from engine.holds import ID_PREFIX, HoldRecord, HoldStatus
from engine.keys import Keys
from engine.restore import KeptHold, KeptMemory, Restorer
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
    skus: int
    holds: int
    customers: int
    memories: int


async def rebuild_shard(connection: Connection, redis: Redis, keys: Keys, retention_s: int) -> Rebuilt:
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
    sql = queries("rebuild")
    async with connection.transaction():
        await connection.execute(queries("flush")["lock_offset"], keys.shard)
        moved = await connection.execute(queries("flush")["move_offset"], keys.shard, epoch, 0)
        if moved == "UPDATE 0":
            await connection.execute(queries("flush")["insert_offset"], keys.shard, epoch, 0)
    await restorer.wipe()
    now_ms, retention_ms = await restorer.now_ms(), retention_s * 1000
    since = timestamp_of(now_ms - retention_ms)

    async with connection.transaction(isolation="repeatable_read", readonly=True):
        skus = await restorer.put_levels(_parts(connection, sql["list_levels"], _level))
        holds = await restorer.put_holds(
            _parts(connection, sql["list_holds"], lambda row: _kept_hold(row, now_ms, retention_ms), since)
        )
        customers = await restorer.put_customers(
            _parts(connection, sql["list_customers"], lambda row: (row["sku"], row["customer_id"], row["units"]))
        )
        memories = await restorer.put_memories(
            _parts(
                connection,
                sql["list_memories"],
                lambda row: KeptMemory(row["token"], row["memory"], _keep(ms_of(row["at"]), now_ms, retention_ms)),
                keys.shard,
                since,
            )
        )
    installation = await connection.fetchval(sql["read_installation"])
    await restorer.open(epoch, installation)
    return Rebuilt(epoch, drained, skus, holds, customers, memories)


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


def _keep(since_ms: int, now_ms: int, retention_ms: int) -> int:
    return max(since_ms - now_ms + retention_ms, MIN_KEEP_MS)
