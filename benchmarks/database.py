"""PostgreSQL's side of the books, by plain SQL as an operator would ask for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from msgspec import Struct

from benchmarks.books import Counts, Entry, Movement
from benchmarks.orders import Order, OrderItem
from benchmarks.queries import read_queries

CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 120
FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a server that is away, or is no database of Holdfast, raises."""

SQL = Path(__file__).with_name("books.sql")


class Place(Struct, frozen=True):
    """How far one shard's event log was applied at some moment."""

    shard: int
    epoch: int
    seq: int


class Database:
    """Reads the books of some SKUs."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], skus: Sequence[str]) -> None:
        self._connection = connection
        self._skus = list(skus)

    async def places(self) -> list[Place]:
        rows = await self._connection.fetch(read_queries(SQL)["log_places"])
        return [Place(row["shard"], row["epoch"], row["seq"]) for row in rows]

    async def levels(self) -> dict[str, Counts]:
        rows = await self._connection.fetch(read_queries(SQL)["stock_levels"], self._skus)
        return {row["sku"]: _counts(row) for row in rows}

    async def ledger(self) -> tuple[dict[str, Counts], tuple[str, ...]]:
        """The sums by SKU, and the SKUs that have an event twice."""
        rows = await self._connection.fetch(read_queries(SQL)["ledger_sums"], self._skus)
        return {row["sku"]: _counts(row) for row in rows}, tuple(row["sku"] for row in rows if row["repeated"])

    async def entries(self, since: Sequence[Place]) -> dict[Entry, Movement]:
        rows = await self._connection.fetch(read_queries(SQL)["entries_since"], self._skus, *_columns(since))
        return {(row["reference"], row["sku"]): Movement(row["received"], row["sold"]) for row in rows}

    async def quarantined(self, since: Sequence[Place]) -> int:
        return int(await self._connection.fetchval(read_queries(SQL)["quarantined_since"], *_columns(since)))

    async def orders(self, carts: Collection[str]) -> tuple[Order, ...]:
        """The orders that these carts became, with their items."""
        if not carts:
            return ()
        rows = await self._connection.fetch(read_queries(SQL)["orders_of_carts"], list(carts))
        items: defaultdict[str, list[OrderItem]] = defaultdict(list)
        for row in await self._connection.fetch(read_queries(SQL)["items_of_orders"], [row["id"] for row in rows]):
            order_id, *values = row.values()
            items[order_id].append(OrderItem(*values))
        return tuple(Order(**dict(row), items=tuple(items[row["id"]])) for row in rows)


@asynccontextmanager
async def open_database(url: str, skus: Sequence[str]) -> AsyncIterator[Database]:
    """Connect for one reading, all of one moment. Raises one of FAULTS."""
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield Database(connection, skus)
    finally:
        await connection.close()


def _counts(row: asyncpg.Record) -> Counts:
    return Counts(row["available"], row["reserved"], row["sold"])


def _columns(places: Sequence[Place]) -> tuple[list[int], list[int], list[int]]:
    return [p.shard for p in places], [p.epoch for p in places], [p.seq for p in places]
