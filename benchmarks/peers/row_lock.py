"""`row_lock`: the usual design, `SELECT … FOR UPDATE` on the stock row and the hold's row in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from benchmarks.peers.litestar_peer import Hold, make_app
from benchmarks.peers.serving import arguments, serve
from benchmarks.queries import read_queries

POOL = 20
SQL = Path(__file__).with_name("row_lock.sql")


class RowLock:
    """Stock as a row a SKU."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._sql = read_queries(SQL)

    async def take(self, hold: Hold) -> bool:
        sql = self._sql
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                for line in sorted(hold.body.lines, key=lambda line: line.sku):
                    available = await connection.fetchval(sql["lock_stock"], line.sku)
                    if available is None or available < line.quantity:
                        await transaction.rollback()
                        return False
                    await connection.execute(sql["take_stock"], line.sku, line.quantity)
                    values = (hold.id, line.sku, line.quantity, hold.body.customer_id, hold.created_at, hold.expires_at)
                    await connection.execute(sql["insert_hold"], *values)
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()
            return True


@asynccontextmanager
async def open_store(database_url: str, prefix: str, skus: int, units: int) -> AsyncIterator[RowLock]:
    """Make the schema anew, fill it, and serve from it."""
    sql = read_queries(SQL)
    async with asyncpg.create_pool(database_url, min_size=POOL, max_size=POOL) as pool:
        await pool.execute(sql["drop_schema"])
        await pool.execute(sql["make_schema"])
        await pool.execute(sql["fill_stock"], prefix, skus, units)
        yield RowLock(pool)


if __name__ == "__main__":
    told = arguments(database_url=str, prefix=str, skus=int, units=int)
    serve(make_app(lambda: open_store(told.database_url, told.prefix, told.skus, told.units)), told.fd)
