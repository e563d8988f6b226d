"""Brings catalogue rows into the system: what they are called to PostgreSQL, their stock through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from msgspec import Struct

from cli.catalogue_rows import StockedRow
from engine.errors import HoldfastError, Unavailable
from engine.idempotency import fingerprint, fresh_token
from engine.refusals import Refusal, Refused
from engine.shard import Shard
from engine.stock import Adjust
from jobs.resources import Resources
from persistence.imports import upsert_products

CHUNK_ROWS = 500
ATTEMPTS = 6
FIRST_PAUSE_S = 0.1
BACKLOG_POLL_S = 0.5
BACKLOG_PATIENCE_S = 60.0
REASON = "import"


class Imported(Struct):
    """SKUs whose stock was made, or was there and kept its count; and products whose name or price changed."""

    created: int = 0
    kept: int = 0
    updated: int = 0

    @property
    def rows(self) -> int:
        return self.created + self.kept


async def import_rows(
    resources: Resources, rows: Iterable[StockedRow], told: Callable[[int], None] = lambda _rows: None
) -> Imported:
    """Write all rows, a bounded number at a time, and tell how many are in after each part.

    A SKU that exists keeps its count and its customer limit, so doing it again changes nothing. Raises Unavailable when
    a server stays away; what was told to be in is in, and the same import, started again, goes on from there.
    """
    imported = Imported()
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        await _wait_for_flush(resources)
        changes = await upsert_products(resources.pool, [row.catalogue for row in chunk])
        created = await asyncio.gather(*(_create_stock(resources.shard, row) for row in chunk))
        imported.created += sum(created)
        imported.kept += len(chunk) - sum(created)
        imported.updated += changes.updated
        told(len(chunk))
    return imported


async def _create_stock(shard: Shard, row: StockedRow) -> bool:
    """Make the SKU with its first count; False when it exists."""
    request = Adjust(
        token=fresh_token(),
        fingerprint=fingerprint(row),
        sku=row.catalogue.sku,
        delta=row.quantity,
        reason=REASON,
        create=True,
        customer_limit=row.customer_limit,
    )
    for pause_s in _pauses():
        try:
            answer = await shard.adjust(request)
        except Unavailable:
            if pause_s is None:
                raise
            await asyncio.sleep(pause_s)
            continue
        if not isinstance(answer, Refused):
            return True
        if answer.refusal is Refusal.SKU_EXISTS:
            return False
        raise HoldfastError(f"the stock of {row.catalogue.sku} was refused: {answer.refusal}")
    raise AssertionError("the last attempt either answers or raises")


def _pauses() -> Iterator[float | None]:
    """Seconds to wait after each failed attempt; None after the last."""
    for attempt in range(ATTEMPTS - 1):
        yield FIRST_PAUSE_S * 2**attempt
    yield None


async def _wait_for_flush(resources: Resources) -> None:
    """Let PostgreSQL catch up before the log outgrows what the system allows itself."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BACKLOG_PATIENCE_S
    while (await resources.shard.backlog()).events >= resources.settings.high_water_events:
        if loop.time() > deadline:
            raise Unavailable("PostgreSQL does not catch up with the event log: is the flush worker running?")
        await asyncio.sleep(BACKLOG_POLL_S)
