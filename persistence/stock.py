"""Stock as PostgreSQL tells it: the ledger of every movement."""

from __future__ import annotations

from msgspec import Struct

from persistence.pool import Connection, Pool
from persistence.sql import queries

_SEQ_BITS = 40
_NEWEST = (1 << 62) - 1


class LedgerRow(Struct, frozen=True):
    """One movement of a SKU, in units. `position` orders a SKU's rows and names the place where a page ends."""

    position: int
    event_id: str
    kind: str
    delta_available: int
    delta_reserved: int
    delta_sold: int
    reference: str | None
    reason: str | None
    at_ms: int


async def ledger(pool: Pool, sku: str, before: int | None, limit: int) -> list[LedgerRow]:
    """At most `limit` movements of `sku`, newest first, older than position `before`."""
    place = _NEWEST if before is None else before
    epoch, seq = place >> _SEQ_BITS, place & ((1 << _SEQ_BITS) - 1)
    rows = await pool.fetch(queries("stock")["ledger_page"], sku, epoch, seq, limit)
    return [
        LedgerRow(
            position=row["epoch"] << _SEQ_BITS | row["seq"],
            event_id=row["event_id"],
            kind=row["kind"],
            delta_available=row["delta_available"],
            delta_reserved=row["delta_reserved"],
            delta_sold=row["delta_sold"],
            reference=row["reference"],
            reason=row["reason"],
            at_ms=row["at"],
        )
        for row in rows
    ]


async def was_sold(connection: Connection, skus: list[str]) -> bool:
    """Whether any unit of these was ever sold, as far as it is flushed; also one that came back."""
    return bool(await connection.fetchval(queries("stock")["was_sold"], skus))


async def knows(pool: Pool, sku: str) -> bool:
    """Whether `sku` was ever flushed."""
    return bool(await pool.fetchval(queries("stock")["knows_sku"], sku))
