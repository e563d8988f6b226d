"""The catalogue in PostgreSQL, which holds its truth."""

from __future__ import annotations

from collections.abc import Sequence

from engine.catalogue import CatalogueChanges, CatalogueRow
from engine.errors import HoldfastError
from engine.idempotency import fresh_token
from persistence.pool import Pool
from persistence.sql import queries

PRODUCT_PREFIX = "prod_"
VARIANT_PREFIX = "var_"


async def upsert_products(pool: Pool, rows: Sequence[CatalogueRow]) -> CatalogueChanges:
    """Make a product with one variant for each new SKU, and bring known ones up to date, all in one transaction.

    Each SKU may be there once. Doing it again changes nothing. Raises asyncpg's errors.
    """
    if not rows:
        return CatalogueChanges(0, 0)
    columns = (
        [PRODUCT_PREFIX + fresh_token() for _ in rows],
        [VARIANT_PREFIX + fresh_token() for _ in rows],
        [row.sku for row in rows],
        [row.name for row in rows],
        [row.price_minor for row in rows],
        [row.currency for row in rows],
        [row.description for row in rows],
        [row.category for row in rows],
    )
    sql = queries("catalogue")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(sql["lock_variants"])
        counts = await connection.fetchrow(sql["upsert_products"], *columns)
    if counts is None:
        raise HoldfastError("the catalogue did not say what it changed")
    return CatalogueChanges(counts["created"], counts["updated"])
