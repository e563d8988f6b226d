"""Restore: put a shard's state into Redis as the scripts would have left it. Only behind a closed fence."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from engine.carts import LIVE, CartRecord, pointer_to
from engine.expiring import bundles_of
from engine.holds import HoldRecord, HoldStatus
from engine.keys import Keys
from engine.orders import OrderRecord
from engine.stock import StockLevel, row_of_level
from engine.trade import count_field

PART = 1_000
LIVE_GRACE_MS = 30 * 86_400_000
"""What a live hold's record outlives its deadline and the retention by, as lua/prelude.lua keeps it."""

SWEEP_GRACE_MS = 3_600_000
"""What the record of a hold that ended outlives its deadline by, as lua/holds.lua keeps it."""


class Meta(Struct, frozen=True):
    """The shard's own record: whose log this is and how long. `epoch` is None while the fence is closed in Redis.

    `run_id` is the server process that the epoch began on.
    """

    epoch: int | None
    seq: int
    flushed: int
    installation: str | None
    run_id: str = ""


NO_EVICTION = "noeviction"


class Server(Struct, frozen=True):
    """A server process: its name, its role, whether it was a replica that took over, and how it keeps its data."""

    run_id: str
    role: str
    took_over: bool
    eviction: str
    """What becomes of keys when its memory is full: `noeviction`, or else some are forgotten."""
    has_file: bool


class KeptHold(Struct, frozen=True):
    """A hold to put back: its record, and how long from now Redis keeps it, in ms."""

    token: str
    record: HoldRecord
    keep_ms: int


class KeptMemory(Struct, frozen=True):
    """A keyed operation's memory to put back, as the script wrote it, and how long from now Redis keeps it, in ms."""

    token: str
    memory: str
    keep_ms: int


class KeptCart(Struct, frozen=True):
    """A cart to put back, and how long from now Redis keeps it, in ms."""

    token: str
    record: CartRecord
    keep_ms: int


class KeptOrder(Struct, frozen=True):
    """An order to put back, and how long from now Redis keeps it, in ms."""

    token: str
    record: OrderRecord
    keep_ms: int


class CouponCount(Struct, frozen=True):
    """Orders that a coupon is counted for; `customer_id` None counts those of all together."""

    coupon_id: str
    customer_id: str | None
    orders: int


class Restorer:
    """Writes through a client that no fence guards; nothing reserves meanwhile, since the shard has no epoch."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def meta(self) -> Meta:
        """What this Redis says of itself."""
        fields: dict[Any, Any] = await self._redis.hgetall(self._keys.meta)
        epoch = fields.get("epoch")
        return Meta(
            epoch=None if epoch is None else int(epoch),
            seq=int(fields.get("seq", 0)),
            flushed=int(fields.get("flushed", 0)),
            installation=fields.get("installation"),
            run_id=fields.get("run_id", ""),
        )

    async def now_ms(self) -> int:
        """Redis' clock."""
        seconds, micros = await self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def is_empty(self) -> bool:
        """Whether nothing of the shard's substance is there."""
        return not await self._redis.exists(self._keys.stock, self._keys.events, self._keys.deadlines)

    async def close(self) -> None:
        """From now on every script answers "fenced"."""
        await self._redis.hdel(self._keys.meta, "epoch")

    async def open(self, epoch: int, installation: str, run_id: str = "") -> None:
        """Begin `epoch` of the log at event 0 on this server process: the last step, after which scripts work."""
        fields: dict[Any, Any] = {"epoch": epoch, "seq": 0, "flushed": 0, "installation": installation}
        await self._redis.hset(self._keys.meta, mapping={**fields, "run_id": run_id})

    async def server(self) -> Server:
        """Which process this is, and its place among its copies."""
        told: dict[Any, Any] = {}
        for section in ("server", "replication", "memory", "persistence"):
            told |= await self._redis.info(section)
        # A replica that takes over tells where the history of its master ended.
        took_over = int(told.get("second_repl_offset", -1)) >= 0
        eviction, has_file = str(told.get("maxmemory_policy", NO_EVICTION)), bool(told.get("aof_enabled", True))
        return Server(str(told["run_id"]), str(told.get("role", "master")), took_over, eviction, has_file)

    async def wipe(self) -> None:
        """Remove everything of the shard."""
        part: list[str] = []
        async for key in self._redis.scan_iter(match=f"{_escape(self._keys.tag)}*", count=PART):
            part.append(key)
            if len(part) >= PART:
                await self._redis.unlink(*part)
                part = []
        if part:
            await self._redis.unlink(*part)

    async def end_log(self) -> None:
        """Remove the log and what belongs to its epoch; all of it is applied in PostgreSQL."""
        await self._redis.unlink(self._keys.events, self._keys.orphans, self._keys.flush_lease)

    async def put_levels(self, parts: AsyncIterable[list[StockLevel]]) -> int:
        """Stock rows and the list of SKUs; returns how many."""
        count = 0
        async for part in parts:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(self._keys.stock, mapping={level.sku: row_of_level(level) for level in part})
                pipeline.zadd(self._keys.skus, {level.sku: 0 for level in part})
                await pipeline.execute()
            count += len(part)
        return count

    async def put_holds(self, parts: AsyncIterable[list[KeptHold]]) -> int:
        """Hold records, and the deadlines of the live ones; returns how many."""
        count = 0
        async for part in parts:
            live = {kept.token: kept.record.expires_ms for kept in part if kept.record.status is HoldStatus.HELD}
            async with self._redis.pipeline(transaction=False) as pipeline:
                for kept in part:
                    _keep(pipeline, self._keys.hold(kept.token), msgspec.json.encode(kept.record), kept.keep_ms)
                if live:
                    pipeline.zadd(self._keys.deadlines, bundles_of(live))
                await pipeline.execute()
            count += len(part)
        return count

    async def put_customers(self, parts: AsyncIterable[list[tuple[str, str, int]]]) -> int:
        """Units held and sold to one customer of a SKU with a limit (SKU, customer, units); returns how many."""
        count = 0
        async for part in parts:
            fields: dict[Any, Any] = {f"{sku}|{customer}": units for sku, customer, units in part}
            await self._redis.hset(self._keys.customers, mapping=fields)
            count += len(part)
        return count

    async def put_memories(self, parts: AsyncIterable[list[KeptMemory]]) -> int:
        """Memories of keyed operations; returns how many."""
        count = 0
        async for part in parts:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for kept in part:
                    _keep(pipeline, self._keys.memory(kept.token), kept.memory, kept.keep_ms)
                await pipeline.execute()
            count += len(part)
        return count

    async def put_carts(self, parts: AsyncIterable[list[KeptCart]]) -> int:
        """Carts, and the pointers of customers to their live one (of several the last); returns how many carts."""
        count = 0
        async for part in parts:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for kept in part:
                    record = kept.record
                    _keep(pipeline, self._keys.cart(kept.token), msgspec.json.encode(record), kept.keep_ms)
                    if record.customer and record.status in LIVE:
                        pointer = pointer_to(record.customer, kept.token, kept.keep_ms)
                        _keep(pipeline, self._keys.cart_of(pointer.token), pointer.text, pointer.keep_ms)
                await pipeline.execute()
            count += len(part)
        return count

    async def put_orders(self, parts: AsyncIterable[list[KeptOrder]]) -> int:
        """Orders, and the payment windows of those that wait for their payment; returns how many."""
        count = 0
        async for part in parts:
            windows = {kept.token: kept.record.payment.until_ms for kept in part if kept.record.is_waiting}
            async with self._redis.pipeline(transaction=False) as pipeline:
                for kept in part:
                    _keep(pipeline, self._keys.order(kept.token), msgspec.json.encode(kept.record), kept.keep_ms)
                if windows:
                    pipeline.zadd(self._keys.payments, windows)
                await pipeline.execute()
            count += len(part)
        return count

    async def put_coupon_counts(self, parts: AsyncIterable[list[CouponCount]]) -> int:
        """Orders that coupons are counted for; returns how many counts."""
        count = 0
        async for part in parts:
            fields: dict[Any, Any] = {count_field(each.coupon_id, each.customer_id): each.orders for each in part}
            await self._redis.hset(self._keys.coupons, mapping=fields)
            count += len(part)
        return count


def _keep(pipeline: Any, key: str, text: bytes | str, keep_ms: int) -> None:
    pipeline.execute_command("SET", key, text, "PX", keep_ms)  # `set` looks at its dozen options each time


def _escape(tag: str) -> str:
    """The tag as a literal in a glob pattern."""
    return tag.replace("[", "\\[").replace("{", "\\{").replace("}", "\\}")
