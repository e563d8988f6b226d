"""The catalogue in PostgreSQL, which holds its truth: changed by one writer at a time, read as one moment.

Whoever changes anything that a catalogue in memory shows (categories, products, variants, pricing rules, coupons)
begins with `begin_change` in the same transaction. That row's lock makes writers wait for each other, so whatever they
judge stays true until they commit, versions are committed in order, and no two writers can wait for each other in a
circle.
"""

from __future__ import annotations

import asyncio

from engine.catalogue import Catalogue, Row
from persistence import categories, coupons, pricing_rules, products, variants
from persistence.pool import Connection, Pool
from persistence.sql import queries

DELETIONS_KEPT_S = 86_400
"""A catalogue in memory that was not brought up to date for longer than half of this is loaded anew."""

ROWS_BUILT_IN_LOOP = 200


async def read_version(connection: Connection) -> int:
    """How far the catalogue has changed; grows with every change, whatever was changed."""
    return int(await connection.fetchval(queries("catalogue")["read_version"]))


async def begin_change(connection: Connection) -> int:
    """Wait for the other writers and answer the version that every row of this change carries, as its `version`.

    To be called first, within a transaction; a transaction that is rolled back leaves the version as it was.
    """
    return int(await connection.fetchval(queries("catalogue")["begin_change"]))


async def load(connection: Connection, known: Catalogue | None = None) -> Catalogue:
    """The catalogue of this moment: all of it, or what changed since `known` was loaded.

    Only small changes are read within the event loop; a long list becomes a catalogue in a thread.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await load_up_to(connection, await read_version(connection), known)


async def load_up_to(connection: Connection, version: int, known: Catalogue | None) -> Catalogue:
    """As `load`, where the transaction itself warrants that nothing is newer than `version`."""
    if known is not None and known.version == version:
        return known
    if known is not None and known.version > version:
        known = None  # the database was put back to an earlier time
    since = -1 if known is None else known.version
    changed_categories = await categories.list_since(connection, since)
    product_rows = await products.list_since(connection, since)
    variant_rows = await variants.list_since(connection, since)
    changed_rules = await pricing_rules.list_since(connection, since)
    changed_coupons = await coupons.list_since(connection, since)
    gone = [] if known is None else await connection.fetch(queries("catalogue")["list_deletions_since"], since)

    def build() -> Catalogue:
        put: list[Row] = [*changed_categories, *changed_rules, *changed_coupons]
        put += map(products.product_of, product_rows)
        put += map(variants.variant_of, variant_rows)
        return (known or Catalogue()).changed(version, put, [row["id"] for row in gone])

    size = len(product_rows) + len(variant_rows) + (0 if known is None else len(known.variants) // 10)
    return await asyncio.to_thread(build) if size > ROWS_BUILT_IN_LOOP else build()


async def note_deletion(connection: Connection, row_id: str, version: int) -> None:
    """Let the catalogues in memory hear that a category, product, variant, pricing rule or coupon is gone."""
    await connection.execute(queries("catalogue")["insert_deletion"], row_id, version)


async def purge_deletions(pool: Pool) -> None:
    """Forget deletions after DELETIONS_KEPT_S."""
    await pool.execute(queries("catalogue")["delete_old_deletions"], DELETIONS_KEPT_S)
