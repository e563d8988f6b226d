"""What the peers on PostgreSQL share: a schema made anew, and one transaction a hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from benchmarks.peers.litestar_peer import Hold, make_app
from benchmarks.peers.serving import arguments, serve
from benchmarks.queries import read_queries

POOL = 20

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class SqlStore(ABC):
    """Stock and holds in PostgreSQL; `statements` are those of the peer's own file."""

    def __init__(self, pool: Pool, statements: dict[str, str]) -> None:
        self._pool = pool
        self.sql = statements

    async def take(self, hold: Hold) -> bool:
        """Make the hold, all lines or none; False where there are too few units."""
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                is_made = await self.take_lines(connection, hold)
            except BaseException:
                await transaction.rollback()
                raise
            await (transaction.commit() if is_made else transaction.rollback())
            return is_made

    @abstractmethod
    async def take_lines(self, connection: Connection, hold: Hold) -> bool:
        """Take the units and write the hold; False, with whatever done so far, where there are too few."""


@asynccontextmanager
async def open_store(
    kind: type[SqlStore], sql_path: Path, database_url: str, *stock: str | int
) -> AsyncIterator[SqlStore]:
    """Make the schema anew, fill it with `stock` (prefix of the SKUs, how many, units of each), and serve from it."""
    sql = read_queries(sql_path)
    async with asyncpg.create_pool(database_url, min_size=POOL, max_size=POOL) as pool:
        await pool.execute(sql["drop_schema"])
        await pool.execute(sql["make_schema"])
        await pool.execute(sql["fill_stock"], *stock)
        if "index_stock" in sql:
            await pool.execute(sql["index_stock"])
        yield kind(pool, sql)


def serve_store(kind: type[SqlStore], sql_path: Path) -> None:
    """The peer's process."""
    told = arguments(database_url=str, prefix=str, skus=int, units=int)
    serve(make_app(lambda: open_store(kind, sql_path, told.database_url, told.prefix, told.skus, told.units)), told.fd)
