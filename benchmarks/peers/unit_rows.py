"""`unit_rows`: one row a unit, taken with `FOR UPDATE SKIP LOCKED`, so that buyers of one SKU do not wait in line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from benchmarks.peers.litestar_peer import Hold, make_app
from benchmarks.peers.serving import arguments, serve
from benchmarks.queries import read_queries

POOL = 20
SQL = Path(__file__).with_name("unit_rows.sql")


class UnitRows:
    """Stock as a row a unit."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._sql = read_queries(SQL)

    async def take(self, hold: Hold) -> bool:
        sql = self._sql
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                for line in hold.body.lines:
                    rows = await connection.fetch(sql["lock_units"], line.sku, line.quantity)
                    if len(rows) < line.quantity:
                        await transaction.rollback()
                        return False
                    await connection.execute(sql["take_units"], [row["id"] for row in rows], hold.id)
                values = (hold.id, hold.body.customer_id, hold.created_at, hold.expires_at)
                await connection.execute(sql["insert_hold"], *values)
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()
            return True


@asynccontextmanager
async def open_store(database_url: str, prefix: str, skus: int, units: int) -> AsyncIterator[UnitRows]:
    """Make the schema anew, fill it, and serve from it."""
    sql = read_queries(SQL)
    async with asyncpg.create_pool(database_url, min_size=POOL, max_size=POOL) as pool:
        await pool.execute(sql["drop_schema"])
        await pool.execute(sql["make_schema"])
        await pool.execute(sql["fill_stock"], prefix, skus, units)
        await pool.execute(sql["index_stock"])
        yield UnitRows(pool)


if __name__ == "__main__":
    told = arguments(database_url=str, prefix=str, skus=int, units=int)
    serve(make_app(lambda: open_store(told.database_url, told.prefix, told.skus, told.units)), told.fd)
