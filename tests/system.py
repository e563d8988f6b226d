"""A whole engine for tests: real Redis, real PostgreSQL, verified fence, no HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis

from engine.connection import connect as connect_redis
from engine.desk import Desk
from engine.fence import Fence
from engine.holds import HoldAnswer, Line, Reserve
from engine.idempotency import fresh_token
from engine.keys import Keys
from engine.settings import Settings
from engine.shard import Shard
from engine.stock import Adjust, StockAnswer, StockLevel, level_of_row
from persistence import fence as verification
from persistence import orders
from persistence.audit import Audit, LastAudit, audit, read_last
from persistence.flush import drain_once
from persistence.pool import Pool
from persistence.pool import connect as connect_database
from tests.bundles import live_deadlines_in


class System(Struct, dict=True):
    """Everything that a test of the engine and its persistence touches."""

    settings: Settings
    keys: Keys
    pool: Pool
    raw: Redis
    fence: Fence
    shard: Shard

    @cached_property
    def desk(self) -> Desk:
        """Where carts and orders are changed (tests/shop.py has something to sell)."""
        return Desk(self.shard, self.settings, partial(orders.find, self.pool))

    async def verify(self) -> verification.Verdict:
        """Compare Redis with PostgreSQL, as every process does before it reserves."""
        return await verification.verify(self.settings, self.pool, self.fence, self.keys)

    async def flush(self) -> int:
        """Drain the whole log; returns the number of events."""
        total = 0
        async with self.pool.acquire() as connection:
            while True:
                drained = await drain_once(connection, self.raw, self.keys, self.settings.flush_batch_events)
                await self.shard.acknowledge(drained.offset.seq)
                total += drained.events
                if drained.events == 0:
                    return total

    async def audit(self, wait_s: float = 0) -> Audit:
        """Compare both sides where the log is now."""
        return await audit(self.raw, self.pool, self.keys, wait_s)

    async def last_audit(self) -> LastAudit | None:
        """What was left of the last reconciliation."""
        return await read_last(self.pool, self.keys.shard)

    async def create(self, sku: str, on_hand: int, customer_limit: int | None = None) -> None:
        """Bring a SKU into being."""
        request = Adjust(fresh_token(), "", sku, on_hand, "created", create=True, customer_limit=customer_limit)
        answer = await self.shard.adjust(request)
        assert isinstance(answer, StockAnswer), answer

    async def hold(self, sku: str, quantity: int = 1, **options: object) -> HoldAnswer:
        """Reserve units of one SKU, which must succeed."""
        answer = await self.shard.reserve(reserve(sku, quantity, **options))  # type: ignore[arg-type]
        assert isinstance(answer, HoldAnswer), answer
        return answer

    async def unswept_stock(self, skus: list[str]) -> dict[str, StockLevel]:
        """The counts as they are written, with nothing reclaimed for the asking."""
        rows: Any = await self.raw.hmget(self.keys.stock, skus)
        return {sku: level_of_row(sku, row) for sku, row in zip(skus, rows, strict=True) if row is not None}

    async def in_redis(self, read: Callable[[str | bytes], Any] = str) -> dict[str, Any]:
        """What Redis holds but the shard's record; of texts what `read` makes of them, of the log that it is there."""
        found: dict[str, Any] = {}
        async for key in self.raw.scan_iter(match="*", count=1_000):
            if key == self.keys.meta:
                continue
            match await self.raw.type(key):
                case "string":
                    found[key] = read(await self.raw.get(key) or "")
                case "hash":
                    found[key] = await self.raw.hgetall(key)
                case "zset" if key == self.keys.deadlines:
                    found[key] = await live_deadlines_in(self.raw, self.keys)
                case "zset":
                    found[key] = await self.raw.zrange(key, 0, -1, withscores=True)
                case "set":
                    found[key] = await self.raw.smembers(key)
                case kind:
                    found[key] = kind
        return found

    async def counts(self, sku: str) -> tuple[int, int, int]:
        """Available, reserved and sold units."""
        level = await self.shard.stock(sku)
        assert level is not None
        return level.available, level.reserved, level.sold


def reserve(
    sku: str, quantity: int = 1, *, token: str | None = None, customer: str | None = None, ttl_ms: int = 60_000
) -> Reserve:
    """A claim on units of one SKU."""
    return Reserve(token or fresh_token(), "fingerprint", customer, ttl_ms, (Line(sku, quantity),))


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[System]:
    """A verified system on these servers."""
    keys, fence = Keys(), Fence()
    pool = await connect_database(settings.require_database_url(), 4)
    raw, guarded = connect_redis(settings), connect_redis(settings, fence)
    shard = Shard(guarded, fence, settings, keys=keys)
    system = System(settings, keys, pool, raw, fence, shard)
    try:
        await system.verify()
        yield system
    finally:
        await shard.close()
        await guarded.aclose()
        await raw.aclose()
        pool.terminate()
