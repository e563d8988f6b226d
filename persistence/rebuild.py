"""Rebuild: an empty or outdated Redis is filled from PostgreSQL, live holds, carts and payment windows included."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import asyncpg
from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.events import LogGap
from engine.keys import Keys
from engine.orders import LIVE_KEPT_MS, TERMINAL
from engine.restore import Meta, Restorer
from engine.settings import Settings
from persistence.flush import Offset, drain_once, read_offset
from persistence.kept import (
    coupon_count,
    in_parts,
    kept_cart,
    kept_hold,
    kept_memory,
    kept_order,
    level_of,
    units_of_customer,
)
from persistence.pool import Connection
from persistence.sql import queries

DRAIN_EVENTS = 5_000
WAYS_OUT = "put back what has them, or give them up (holdfast rebuild --give-up-missing)"

log = logging.getLogger(__name__)

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


class Begun(Struct, frozen=True):
    """A new epoch: where the old log ended in Redis and in PostgreSQL, and how many events of it were applied for it.

    `left` has the epoch that Redis was in, None where it was closed already.
    """

    epoch: int
    left: Meta
    offset: Offset
    drained_events: int


class GivenUp(Struct, frozen=True):
    """What an operator lets a rebuild lose: what events changed that are `quarantined`, or `missing` in the log."""

    quarantined: bool = False
    missing: bool = False


async def begin_epoch(connection: Connection, redis: Redis, keys: Keys, given_up: GivenUp | None = None) -> Begun:
    """Close Redis, apply whatever its log still holds beyond PostgreSQL's offset, and move PostgreSQL to a new epoch.

    The caller holds the shard's lock (`lock_shard`) on another connection, mends Redis and opens it. The new epoch is
    stored in PostgreSQL before anything is mended in Redis and there after everything is, so a crash at any point
    leaves a closed Redis that the next verification rebuilds. Raises LogGap when the log misses events; and where an
    operator asks, LogGap when it ends too soon and Unavailable while events are set aside, but for what is given up.
    Nothing is closed then.
    """
    restorer = Restorer(redis, keys)
    old = await restorer.meta()
    drained = await _drain_rest(connection, redis, keys, given_up)  # most of it, and a gap shows before Redis is closed
    if given_up is not None:
        await _refuse_loss(connection, keys, old, given_up)
    await restorer.close()
    drained += await _drain_rest(connection, redis, keys, given_up)
    left = replace(await restorer.meta(), epoch=old.epoch)
    async with connection.transaction():
        row = await connection.fetchrow(queries("flush")["lock_offset"], keys.shard)
        offset = Offset(row["epoch"], row["seq"]) if row else Offset(0, 0)
        epoch = max(offset.epoch, old.epoch or 0) + 1
        await connection.execute(queries("flush")["move_offset" if row else "insert_offset"], keys.shard, epoch, 0)
    return Begun(epoch, left, offset, drained)


async def rebuild_shard(
    connection: Connection, redis: Redis, keys: Keys, settings: Settings, given_up: GivenUp | None = None
) -> Rebuilt:
    """Make Redis what PostgreSQL says, in a new epoch (see begin_epoch), whatever it held."""
    begun = await begin_epoch(connection, redis, keys, given_up)
    return await refill(connection, redis, keys, settings, begun)


async def refill(connection: Connection, redis: Redis, keys: Keys, settings: Settings, begun: Begun) -> Rebuilt:
    """Wipe the shard, write everything that PostgreSQL knows, and open it in the epoch that began."""
    restorer = Restorer(redis, keys)
    await restorer.wipe()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        counts = Rebuilt(begun.epoch, begun.drained_events)
        rebuilt = await _put_back(connection, restorer, keys, settings, counts)
    await open_epoch(connection, restorer, begun)
    return rebuilt


async def open_epoch(connection: Connection, restorer: Restorer, begun: Begun) -> None:
    """Let scripts work in the epoch that began: the last step."""
    installation = await connection.fetchval(queries("rebuild")["read_installation"])
    await restorer.open(begun.epoch, installation, (await restorer.server()).run_id)


async def _put_back(
    connection: Connection, restorer: Restorer, keys: Keys, settings: Settings, begun: Rebuilt
) -> Rebuilt:
    """Write everything that PostgreSQL knows at this moment; returns `begun` with the counts of it."""
    sql = queries("rebuild")
    now_ms, retention_ms = await restorer.now_ms(), settings.retention_s * 1000
    since_ms = now_ms - retention_ms
    live_since_ms = since_ms - LIVE_KEPT_MS

    def parts(query: str, read: Callable[[asyncpg.Record], T], *arguments: object) -> AsyncIterator[list[T]]:
        return in_parts(connection, sql[query], read, *arguments)

    return replace(
        begun,
        skus=await restorer.put_levels(parts("list_levels", level_of)),
        holds=await restorer.put_holds(parts("list_holds", lambda row: kept_hold(row, now_ms, retention_ms), since_ms)),
        customers=await restorer.put_customers(parts("list_customers", units_of_customer)),
        memories=await restorer.put_memories(
            parts("list_memories", lambda row: kept_memory(row, now_ms, retention_ms), keys.shard, since_ms)
        ),
        carts=await restorer.put_carts(
            parts("list_carts", lambda row: kept_cart(row, now_ms, retention_ms), now_ms, since_ms)
        ),
        orders=await restorer.put_orders(
            parts("list_orders", lambda row: kept_order(row, now_ms, settings), since_ms, live_since_ms, list(TERMINAL))
        ),
        coupons=await restorer.put_coupon_counts(parts("list_coupon_counts", coupon_count)),
    )


async def _refuse_loss(connection: Connection, keys: Keys, meta: Meta, given_up: GivenUp) -> None:
    """Raise LogGap or Unavailable where Redis had more than PostgreSQL has; one that is in no epoch has nothing."""
    if meta.epoch is None:
        return
    offset = await read_offset(connection, keys.shard)
    at = (0, 0) if offset is None else (offset.epoch, offset.seq)
    if not given_up.missing and at < (meta.epoch, meta.seq):
        raise LogGap(
            f"events are missing: Redis made them up to {meta.epoch}-{meta.seq}, and PostgreSQL has those up to "
            f"{at[0]}-{at[1]} only: {WAYS_OUT}"
        )
    waiting = await connection.fetchval(queries("quarantine")["count_quarantined"])
    if not given_up.quarantined and waiting:
        raise Unavailable(
            f"{waiting} events are set aside, and perhaps only Redis has what they changed: replay them first "
            "(holdfast quarantine list), or give them up (holdfast rebuild --give-up-quarantined)"
        )


async def _drain_rest(connection: Connection, redis: Redis, keys: Keys, given_up: GivenUp | None) -> int:
    """Apply what the log still has; returns how many events."""
    if await read_offset(connection, keys.shard) is None:
        return 0
    total = 0
    try:
        while (drained := await drain_once(connection, redis, keys, DRAIN_EVENTS)).events:
            total += drained.events
    except LogGap as error:
        if given_up is None or not given_up.missing:
            raise LogGap(f"{error}: {WAYS_OUT}") from None
        log.warning("given up for a rebuild: %s", error)
    return total
