"""Carts as PostgreSQL keeps them: what an emptied Redis gets back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.carts import ID_PREFIX, CartRecord
from persistence.pool import Connection, Pool
from persistence.sql import columns, queries

PURGED_AT_ONCE = 5_000


async def upsert(connection: Connection, carts: Mapping[str, tuple[CartRecord, int]]) -> None:
    """Write carts by token, each with the ms of its change; a version that is not newer changes nothing."""
    rows = [
        (
            ID_PREFIX + token,
            record.customer,
            record.status,
            record.version,
            msgspec.json.encode(record).decode(),
            record.expires_ms,
            changed_ms,
        )
        for token, (record, changed_ms) in carts.items()
    ]
    await connection.execute(queries("carts")["upsert_carts"], *columns(rows))


async def purge(pool: Pool, retention_s: int) -> int:
    """Forget carts that ran out or were closed more than `retention_s` seconds ago; returns how many."""
    total = 0
    while True:
        done = await pool.execute(queries("carts")["delete_old_carts"], retention_s, PURGED_AT_ONCE)
        deleted = int(done.split()[-1])
        total += deleted
        if deleted < PURGED_AT_ONCE:
            return total
