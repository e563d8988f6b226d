"""Audit: Redis, PostgreSQL's counts, its ledger, holds and orders are compared SKU by SKU, also while traffic runs."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from msgspec import Struct
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.keys import Keys
from engine.stock import StockLevel, level_of_row
from persistence import quarantine
from persistence.flush import read_offset
from persistence.pool import LONG_TIMEOUT_S, Connection, Pool
from persistence.sql import queries, rows_of

MAX_LISTED = 1_000
ORDERS_COMPARED = 10_000
"""Of the orders, those that changed last: the others were compared when they were."""

COSTLY_MS = 1_000
POLL_S = 0.05


class Difference(Struct, frozen=True):
    """Two accounts of one SKU that disagree, each as text."""

    sku: str
    between: str
    one: str
    other: str


class Audit(Struct, frozen=True):
    """What was compared, at which place in the log, and every difference found (at most MAX_LISTED of each kind).

    `took_ms` is what reading PostgreSQL and comparing took; it grows with the ledger, which is read whole.
    """

    epoch: int
    seq: int
    skus: int
    differences: list[Difference]
    quarantined: int
    took_ms: int

    @property
    def is_clean(self) -> bool:
        """Whether every unit is accounted for."""
        return not self.differences and not self.quarantined


class LastAudit(Struct, frozen=True):
    """What a shard's last audit found, in numbers, and when it was done, in ms since 1970."""

    differences: int
    quarantined: int
    orphans_unproven: int
    at_ms: int


async def audit(redis: Redis, pool: Pool, keys: Keys, wait_s: float) -> Audit:
    """Compare both sides at one place in the log, which PostgreSQL must reach within `wait_s`.

    Redis' counts are read in one step together with the place; PostgreSQL's are taken back to that place through the
    ledger, so traffic may go on meanwhile. Raises Unavailable when the flush does not get there in time.
    """
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.hmget(keys.meta, "epoch", "seq")
        pipeline.hgetall(keys.stock)
        (epoch_text, seq_text), rows = await pipeline.execute()
    if epoch_text is None:
        raise Unavailable("this Redis is empty or being rebuilt")
    epoch, seq = int(epoch_text), int(seq_text)
    await wait_until_applied(pool, keys, epoch, seq, wait_s)
    began = time.monotonic()
    in_redis = {sku: level_of_row(sku, row) for sku, row in rows.items()}
    sql = queries("audit")
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        fetch = partial(connection.fetch, timeout=LONG_TIMEOUT_S)
        known = await fetch(sql["levels_as_of"], keys.shard, epoch, seq)
        off_ledger = await fetch(sql["levels_against_ledger"], MAX_LISTED)
        off_holds = await fetch(sql["reserved_against_holds"], MAX_LISTED)
        off_orders = await fetch(sql["orders_against_ledger"], ORDERS_COMPARED, MAX_LISTED)
    in_postgres = {
        row["sku"]: tuple(row[name] for name in ("available", "reserved", "sold", "received")) for row in known
    }
    differences = _compare(in_redis, in_postgres)
    for row in off_ledger:
        counts = f"{row['available']}/{row['reserved']}/{row['sold']}"
        ledger = f"{row['ledger_available']}/{row['ledger_reserved']}/{row['ledger_sold']}"
        differences.append(Difference(row["sku"], "PostgreSQL's counts and its ledger", counts, ledger))
    for row in off_holds:
        differences.append(
            Difference(
                row["sku"], "reserved units and live holds in PostgreSQL", str(row["reserved"]), str(row["held"])
            )
        )
    for row in off_orders:
        between = f"units of {row['id']}, sold/returned, and the ledger"
        items, ledger = f"{row['sold']}/{row['returned']}", f"{row['ledger_sold']}/{row['ledger_returned']}"
        differences.append(Difference(row["sku"], between, items, ledger))
    return Audit(
        epoch=epoch,
        seq=seq,
        skus=len(in_redis.keys() | in_postgres.keys()),
        differences=differences,
        quarantined=await quarantine.count(pool),
        took_ms=round((time.monotonic() - began) * 1_000),
    )


def _compare(in_redis: dict[str, StockLevel], in_postgres: dict[str, tuple[int, ...]]) -> list[Difference]:
    differences: list[Difference] = []
    for sku in sorted(in_redis.keys() | in_postgres.keys()):
        level, there = in_redis.get(sku), in_postgres.get(sku)
        here = None if level is None else (level.available, level.reserved, level.sold, level.received)
        # A SKU created after the place in the log has no units in PostgreSQL's account of it.
        if here != there and not (here is None and there == (0, 0, 0, 0)):
            differences.append(Difference(sku, "Redis and PostgreSQL", str(here), str(there)))
        if level is not None and (
            level.received != level.available + level.reserved + level.sold
            or min(level.available, level.reserved, level.sold) < 0
        ):
            differences.append(Difference(sku, "received and available + reserved + sold in Redis", str(here), ""))
    return differences[:MAX_LISTED]


async def wait_until_applied(pool: Pool, keys: Keys, epoch: int, seq: int, wait_s: float) -> None:
    """Return once PostgreSQL has applied this event. Raises Unavailable when that takes longer than `wait_s`."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        async with pool.acquire() as connection:
            offset = await read_offset(connection, keys.shard)
        if offset is not None and (offset.epoch, offset.seq) >= (epoch, seq):
            return
        if asyncio.get_running_loop().time() >= deadline:
            raise Unavailable(
                f"PostgreSQL did not reach event {epoch}-{seq} within {wait_s:g} s: is the worker running?"
            )
        await asyncio.sleep(POLL_S)


async def record(pool: Pool, shard: int, found: Audit, orphans_unproven: int) -> None:
    """Store what an audit found, by the time of PostgreSQL's clock, in the place of what the one before it found."""
    sums = (found.skus, len(found.differences), found.quarantined, orphans_unproven, found.took_ms)
    await pool.execute(queries("audit")["record_audit"], shard, found.epoch, found.seq, *sums)


async def read_last(connection: Pool | Connection, shard: int) -> LastAudit | None:
    """What the last audit found, None before the first one."""
    row = await connection.fetchrow(queries("audit")["read_last_audit"], shard)
    return None if row is None else LastAudit(*row)


async def was_costly_lately(pool: Pool, shard: int, rest: int) -> bool:
    """Whether the last audit took COSTLY_MS or more and is not `rest` times as long ago as it took."""
    return bool(await pool.fetchval(queries("audit")["was_costly_lately"], shard, COSTLY_MS, rest))


async def set_levels_from_ledger(pool: Pool, shard: int) -> int:
    """Set PostgreSQL's counts to what its ledger proves, where they differ; returns how many SKUs that changed.

    No flush works meanwhile: what one wrote while the ledger was summed up would be overwritten with the old sum.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(queries("flush")["lock_offset"], shard)
        return rows_of(await connection.execute(queries("audit")["levels_from_ledger"], timeout=LONG_TIMEOUT_S))


async def refuse_contradiction(connection: Connection) -> None:
    """Raise Unavailable where PostgreSQL's counts are not the sums of its ledger, so that nothing is built on them."""
    off = await connection.fetch(queries("audit")["levels_against_ledger"], 1, timeout=LONG_TIMEOUT_S)
    if off and off[0]["ledger_available"] is None:
        raise Unavailable(f"PostgreSQL has counts of {off[0]['sku']} without a ledger: only a backup of it can tell")
    if off:
        raise Unavailable(
            f"PostgreSQL's counts of {off[0]['sku']} are not the sum of its ledger: holdfast reconcile --fix sets them "
            "to it, and rebuilds Redis"
        )
