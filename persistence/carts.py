"""Carts as PostgreSQL keeps them: what an emptied Redis gets back."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from engine.carts import ID_PREFIX, CartRecord
from persistence.pool import Connection, Pool
from persistence.sql import columns, queries, rows_of

PURGED_AT_ONCE = 5_000
COLUMNS = ("id", "customer_id", "status", "version", "record", "expires_at", "updated_at")


async def upsert(connection: Connection, carts: Mapping[str, tuple[CartRecord, int]], new: AbstractSet[str]) -> None:
    """Write carts by token, each with the ms of its change; a version that is not newer changes nothing.

    Those of `new` are copied: where one of them was there already, that is an error.
    """
    fresh: list[tuple[object, ...]] = []
    older: list[tuple[object, ...]] = []
    for token, (record, changed_ms) in carts.items():
        row = (
            ID_PREFIX + token,
            record.customer or None,
            record.status,
            record.version,
            msgspec.json.encode(record).decode(),
            record.expires_ms,
            changed_ms,
        )
        (fresh if token in new else older).append(row)
    if fresh:
        await connection.copy_records_to_table("carts", records=fresh, columns=COLUMNS)
    if older:
        await connection.execute(queries("carts")["upsert_carts"], *columns(older))


async def purge(pool: Pool, retention_s: int) -> int:
    """Forget carts that ran out or were closed more than `retention_s` seconds ago; returns how many."""
    total = 0
    while True:
        done = await pool.execute(queries("carts")["delete_old_carts"], retention_s, PURGED_AT_ONCE)
        deleted = rows_of(done)
        total += deleted
        if deleted < PURGED_AT_ONCE:
            return total
