"""Carts as PostgreSQL keeps them: what an emptied Redis gets back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.carts import ID_PREFIX, CartRecord
from persistence.pool import Connection, Pool
from persistence.sql import columns, queries, rows_of

PURGED_AT_ONCE = 5_000
COLUMNS = ("id", "customer_id", "status", "version", "record", "expires_at", "updated_at")


async def upsert(connection: Connection, carts: Mapping[str, tuple[CartRecord, int]], *, by_copy: bool = False) -> None:
    """Write carts by token, each with the ms of its change; a version that is not newer changes nothing.

    `by_copy` copies those that are not there yet.
    """
    sql = queries("carts")
    rows = [
        (
            ID_PREFIX + token,
            record.customer or None,
            record.status,
            record.version,
            msgspec.json.encode(record).decode(),
            record.expires_ms,
            changed_ms,
        )
        for token, (record, changed_ms) in carts.items()
    ]
    if by_copy:
        known = {row["id"] for row in await connection.fetch(sql["list_known"], [row[0] for row in rows])}
        fresh = [row for row in rows if row[0] not in known]
        if fresh:
            await connection.copy_records_to_table("carts", records=fresh, columns=COLUMNS)
        rows = [row for row in rows if row[0] in known]
    if rows:
        await connection.execute(sql["upsert_carts"], *columns(rows))


async def purge(pool: Pool, retention_s: int) -> int:
    """Forget carts that ran out or were closed more than `retention_s` seconds ago; returns how many."""
    total = 0
    while True:
        done = await pool.execute(queries("carts")["delete_old_carts"], retention_s, PURGED_AT_ONCE)
        deleted = rows_of(done)
        total += deleted
        if deleted < PURGED_AT_ONCE:
            return total
