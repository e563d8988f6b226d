"""Repair: a Redis that lacks only a tail of the log gets just what that tail changed, as PostgreSQL knows it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Literal, TypeVar

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from engine import carts, holds, orders
from engine.errors import HoldfastError
from engine.keys import Keys
from engine.repair import LiveCart, Repairer
from engine.restore import CouponCount, KeptCart, KeptHold, KeptMemory, KeptOrder, Restorer
from engine.settings import Settings
from persistence.kept import (
    PART_ROWS,
    coupon_count,
    keep_ms,
    kept_cart,
    kept_hold,
    kept_memory,
    kept_order,
    level_of,
    units_of_customer,
)
from persistence.pool import Connection
from persistence.rebuild import Begun, begin_epoch, open_epoch, refill
from persistence.sql import queries

MAX_TAIL_EVENTS = 100_000
"""A longer tail is not worth its comparing: everything is written anew."""

STEPS_KEPT_S = 3_600
"""How long PostgreSQL remembers the steps of the flush, so how long ago a tail may begin."""

log = logging.getLogger(__name__)

T = TypeVar("T")

Mending = Literal["advanced", "repaired", "rebuilt"]


class Diverged(HoldfastError):
    """Redis is not what it was when it was at its place in the log; the whole of it is written anew."""


class Tail(Struct, frozen=True):
    """The events of an epoch after `after_seq`; no record that they changed carries an earlier time than `since_ms`."""

    epoch: int
    after_seq: int
    since_ms: int


async def mend_shard(
    connection: Connection, redis: Redis, keys: Keys, settings: Settings, explain: Callable[[str], None]
) -> Mending:
    """Bring a Redis that is in PostgreSQL's epoch to PostgreSQL's state, and go on in a new epoch.

    As a rebuild does (persistence/rebuild.py), and with its result, but what is there already stays. Where that cannot
    be made sure the shard is rebuilt. `explain` is told what is being done.
    """
    begun = await begin_epoch(connection, redis, keys)
    restorer = Restorer(redis, keys)
    behind = begun.offset.seq - begun.left.seq
    try:
        if behind != 0:
            explain(f"Redis lacks {behind} events that PostgreSQL knows and is being repaired")
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                now_ms = await restorer.now_ms()
                tail = await _tail(connection, keys, begun, now_ms - settings.retention_s * 1000)
                await _Repair(connection, redis, keys, settings, tail, now_ms).run()
        await restorer.end_log()
        await open_epoch(connection, restorer, begun)
    except Diverged as reason:
        log.warning("Redis lacks %d events and is rebuilt, not repaired: %s", behind, reason)
        explain("Redis is being rebuilt from PostgreSQL")
        await refill(connection, redis, keys, settings, begun)
        return "rebuilt"
    return "repaired" if behind else "advanced"


async def _tail(connection: Connection, keys: Keys, begun: Begun, remembered_since_ms: int) -> Tail:
    """What PostgreSQL knows beyond Redis. Raises Diverged where it cannot tell what that changed."""
    sql, left, offset = queries("repair"), begun.left, begun.offset
    if offset.epoch != left.epoch or offset.seq < left.seq:
        raise Diverged("its log is another one")
    if offset.seq - left.seq > MAX_TAIL_EVENTS:
        raise Diverged(f"that is more than {MAX_TAIL_EVENTS}")
    row = await connection.fetchrow(sql["read_tail"], keys.shard, offset.epoch, left.seq)
    if row is None or row["after_seq"] is None or row["after_seq"] > left.seq or row["seq"] != offset.seq:
        raise Diverged("that was too long ago")
    if row["since"] <= remembered_since_ms:
        raise Diverged("some of it is older than what Redis remembers")
    if await connection.fetchval(sql["count_set_aside"], keys.shard, offset.epoch):
        raise Diverged("some of the log was set aside")
    return Tail(offset.epoch, left.seq, row["since"])


class _Repair:
    """One repair: each method mends one kind of records."""

    def __init__(
        self, connection: Connection, redis: Redis, keys: Keys, settings: Settings, tail: Tail, now_ms: int
    ) -> None:
        self._connection = connection
        self._restorer = Restorer(redis, keys)
        self._repairer = Repairer(redis, keys)
        self._keys = keys
        self._settings = settings
        self._tail = tail
        self._place = (keys.shard, tail.epoch, tail.after_seq)
        self._now_ms = now_ms
        self._retention_ms = settings.retention_s * 1000

    async def run(self) -> None:
        """Mend all of them. Raises Diverged, perhaps after some are mended."""
        await self.levels()
        await self.holds()
        await self.customers()
        await self.memories()
        await self.carts()
        await self.orders()

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._connection.fetch(queries("repair")[query], *arguments)

    async def levels(self) -> None:
        """The ledger's tail, replayed on every count that Redis has, must come to what PostgreSQL counts."""
        had = await self._repairer.levels()
        changed = []
        for row in await self._fetch("list_levels_with_tail", *self._place):
            level, old = level_of(row), had.pop(row["sku"], None)
            moved = (row["moved_available"], row["moved_reserved"], row["moved_sold"])
            before = (0, 0, 0) if old is None else (old.available, old.reserved, old.sold)
            after = tuple(count + by for count, by in zip(before, moved, strict=True))
            if after != (level.available, level.reserved, level.sold):
                raise Diverged(f"{level.sku} does not add up")
            if level != old:
                changed.append(level)
        if had:
            raise Diverged(f"{next(iter(had))} is no SKU")
        await self._restorer.put_levels(_parts(changed))

    async def holds(self) -> None:
        """Live holds are compared one by one, since an extension leaves no trace in the ledger; the others by time."""
        had, wanted = await self._repairer.deadlines(), []
        for hold_id, expires_ms in await self._fetch("list_live_holds"):
            old_ms = had.pop(hold_id.removeprefix(holds.ID_PREFIX), None)
            # One past its deadline may have left Redis without being ended.
            if old_ms != expires_ms or expires_ms <= self._now_ms:
                wanted.append(hold_id)
        kept: list[KeptHold] = [
            kept_hold(row, self._now_ms, self._retention_ms)
            for row in await self._fetch("list_tail_holds", wanted, self._tail.since_ms)
        ]
        if await self._repairer.not_ended(had) - {hold.token for hold in kept}:
            raise Diverged("it has live holds that nobody knows")
        await self._restorer.put_holds(_parts(kept))

    async def customers(self) -> None:
        """Counts of customers, by the ledger's tail."""
        rows = await self._fetch("list_tail_customers", *self._place)
        await self._repairer.move_customers([units_of_customer(row) for row in rows])

    async def memories(self) -> None:
        """Answers that a retry gets again."""
        rows = await self._fetch("list_tail_memories", self._keys.shard, self._tail.since_ms)
        kept: list[KeptMemory] = [kept_memory(row, self._now_ms, self._retention_ms) for row in rows]
        await self._restorer.put_memories(_parts(kept))

    async def carts(self) -> None:
        """Carts, and the pointers of the customers that they belong to: a cart may come to one, but never leaves."""
        since_ms = self._now_ms - self._retention_ms
        kept: list[KeptCart] = []
        gone = []
        rows = await self._fetch("list_tail_carts", self._tail.since_ms, self._now_ms, since_ms)
        for row in rows:
            cart = kept_cart(row, self._now_ms, self._retention_ms)
            if row["is_kept"]:
                kept.append(cart)
            else:
                gone.append(self._keys.cart(cart.token))
        customers = {row["customer_id"] for row in rows if row["customer_id"]}
        await self._restorer.put_carts(_parts(kept))
        await self._repairer.remove(gone)
        live = {
            row["customer_id"]: LiveCart(
                row["customer_id"],
                row["id"].removeprefix(carts.ID_PREFIX),
                keep_ms(row["expires_at"], self._now_ms, 0),
            )
            for row in await self._fetch("list_carts_of", list(customers), self._now_ms)
        }
        await self._repairer.point(customers, live)

    async def orders(self) -> None:
        """Orders, the windows of their payments, and what their coupons are counted for."""
        rows = await self._fetch("list_tail_orders", self._tail.since_ms)
        kept: list[KeptOrder] = [kept_order(row, self._now_ms, self._settings) for row in rows]
        await self._repairer.forget_payments(order.token for order in kept if not order.record.is_waiting)
        await self._restorer.put_orders(_parts(kept))
        waiting = await self._fetch("list_waiting_orders")
        until_ms = {row["id"].removeprefix(orders.ID_PREFIX): row["until_ms"] for row in waiting}
        if await self._repairer.payments() != until_ms:
            raise Diverged("its payment windows are others")
        with_coupon = [order.record for order in kept if order.record.coupon_id]
        coupons = list({record.coupon_id for record in with_coupon})
        pairs = list({(record.coupon_id, record.customer) for record in with_coupon if record.customer})
        counts: list[CouponCount] = [
            coupon_count(row)
            for row in await self._fetch(
                "list_coupon_counts_of", coupons, [coupon for coupon, _ in pairs], [customer for _, customer in pairs]
            )
        ]
        await self._repairer.set_coupon_counts(counts)


async def _parts(records: list[T]) -> AsyncIterator[list[T]]:
    for start in range(0, len(records), PART_ROWS):
        yield records[start : start + PART_ROWS]
