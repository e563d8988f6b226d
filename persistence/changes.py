"""Changes: events folded into rows, and the statements that write them. Knows no offset and no stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from engine.carts import CartRecord
from engine.errors import HoldfastError
from engine.events import (
    Adjusted,
    CartChanged,
    Committed,
    Event,
    Expired,
    Extended,
    Lines,
    OrderChanged,
    Released,
    Reserved,
    Returned,
)
from engine.holds import ID_PREFIX
from engine.orders import OrderRecord
from persistence import carts, orders
from persistence.holds import lines_text
from persistence.pool import Connection
from persistence.sql import columns, queries, rows_of

UNKNOWN_SKU = "an event moves units of a SKU that was never created"
LEDGER_COLUMNS = (
    "sku", "shard", "epoch", "seq", "kind", "delta_available", "delta_reserved", "delta_sold", "reference", "reason",
    "at",
)  # fmt: skip

HOLD_COLUMNS = (
    "id", "status", "customer_id", "created_at", "expires_at", "settled_at", "reference", "ttl_ms", "fingerprint",
    "lines",
)  # fmt: skip
STATUS, EXPIRES_AT, SETTLED_AT, REFERENCE = (
    HOLD_COLUMNS.index(name) for name in ("status", "expires_at", "settled_at", "reference")
)

FIRST_VERSION = 1
"""Of a cart that is opened, and of an order that is placed."""

LedgerRow = tuple[str, int, int, int, str, int, int, int, str | None, str | None, int]


class MissingRow(HoldfastError):
    """An event speaks of a hold or a SKU that PostgreSQL has never heard of."""


class Changes:
    """What a run of events amounts to: each hold, cart and order of it is written once, as it stands at the end."""

    def __init__(self, shard: int, events: Sequence[Event]) -> None:
        self._shard = shard
        self._ledger: list[LedgerRow] = []
        self._levels: list[tuple[str, int, int]] = []
        self._made: dict[str, list[Any]] = {}
        self._settled: dict[str, tuple[str, str, int]] = {}
        self._extended: dict[str, int] = {}
        self._carts: dict[str, tuple[CartRecord, int]] = {}
        self._orders: dict[str, OrderRecord] = {}
        self._begun: set[str] = set()
        for event in events:
            self._fold(event)

    def _fold(self, event: Event) -> None:
        body = event.body
        match body:
            case Reserved():
                self._make(event, body)
            case Committed():
                self._settle(event, "committed", body.token, body.lines, (0, -1, 1), body.reference)
            case CartChanged():
                self._carts[body.token] = (body.record, event.at_ms)
                self._begin(body)
            case OrderChanged():
                self._orders[body.token] = body.record
                self._begin(body)
            case Released():
                self._settle(event, "released", body.token, body.lines, (1, -1, 0))
            case Expired():
                self._settle(event, "expired", body.token, body.lines, (1, -1, 0))
            case Extended():
                self._extend(body)
            case Adjusted():
                self._adjust(event, body)
            case Returned():
                # Of the things that happen to stock this is an adjustment, whose reason tells of the order.
                self._move(event, body.lines, (1, 0, -1), body.reference, kind="adjust", reason=body.reason)

    def _begin(self, body: CartChanged | OrderChanged) -> None:
        if body.record.version == FIRST_VERSION:
            self._begun.add(body.token)

    def _make(self, event: Event, body: Reserved) -> None:
        hold_id = ID_PREFIX + body.token
        self._made[hold_id] = [
            hold_id,
            "held",
            body.customer or None,
            body.created_ms,
            body.expires_ms,
            None,
            None,
            body.expires_ms - body.created_ms,
            body.fingerprint,
            lines_text(body.lines),
        ]
        self._move(event, body.lines, (-1, 1, 0), hold_id)

    def _extend(self, body: Extended) -> None:
        hold_id, expires_at = ID_PREFIX + body.token, body.expires_ms
        made = self._made.get(hold_id)
        if made is not None:
            made[EXPIRES_AT] = expires_at
        else:
            self._extended[hold_id] = expires_at

    def _adjust(self, event: Event, body: Adjusted) -> None:
        at = event.at_ms
        if body.create:
            self._levels.append((body.sku, body.customer_limit, at))
        place = (body.sku, self._shard, event.epoch, event.seq)
        self._ledger.append((*place, event.kind, body.delta, 0, 0, body.reference or None, body.reason or None, at))

    def _settle(
        self, event: Event, status: str, token: str, lines: Lines, signs: tuple[int, int, int], reference: str = ""
    ) -> None:
        hold_id, at = ID_PREFIX + token, event.at_ms
        made = self._made.get(hold_id)
        if made is None:
            self._settled[hold_id] = (status, reference, at)
        else:
            made[STATUS], made[REFERENCE], made[SETTLED_AT] = status, reference or None, at
        self._move(event, lines, signs, reference or hold_id)

    def _move(
        self,
        event: Event,
        lines: Lines,
        signs: tuple[int, int, int],
        reference: str,
        *,
        kind: str | None = None,
        reason: str | None = None,
    ) -> None:
        shard, epoch, seq, kind, at = self._shard, event.epoch, event.seq, kind or event.kind, event.at_ms
        a, r, s = signs
        for sku, units in lines:
            row = (sku, shard, epoch, seq, kind, a * units, r * units, s * units, reference or None, reason or None, at)
            self._ledger.append(row)

    async def write(self, connection: Connection, *, by_copy: bool = False) -> None:
        """Write everything within the caller's transaction. Raises MissingRow, or asyncpg's own errors.

        What may be there already is left as it is. `by_copy` takes the ledger's rows, and the holds, carts and orders
        that these events begin, as new, at about half the cost: where any of them was there already, that is an error
        and nothing is written.
        """
        sql = queries("flush")
        if self._levels:
            await connection.execute(sql["insert_levels"], *columns(self._levels))
        if self._ledger:
            write_ledger = self._copy_ledger if by_copy else self._insert_ledger
            await write_ledger(connection)
        if self._made:
            write_made = self._copy_made if by_copy else self._insert_made
            await write_made(connection)
        await self._write_older(connection)
        new = self._begun if by_copy else frozenset[str]()
        if self._carts:
            await carts.upsert(connection, self._carts, new)
        if self._orders:
            await orders.upsert(connection, self._orders, new)

    async def _insert_ledger(self, connection: Connection) -> None:
        counts = await connection.fetchrow(queries("flush")["insert_ledger_events"], *columns(self._ledger))
        if counts is None or counts["skus"] != counts["moved"]:
            raise MissingRow(UNKNOWN_SKU)

    async def _copy_ledger(self, connection: Connection) -> None:
        await connection.copy_records_to_table("stock_ledger", records=self._ledger, columns=LEDGER_COLUMNS)
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for sku, _, _, _, _, available, reserved, sold, *_ in self._ledger:
            of_sku = sums[sku]
            of_sku[0] += available
            of_sku[1] += reserved
            of_sku[2] += sold
        moved = [(sku, *of_sku) for sku, of_sku in sorted(sums.items())]
        latest = max(row[-1] for row in self._ledger)
        found = await connection.fetch(queries("flush")["move_levels"], latest, *columns(moved))
        if len(found) != len(moved):
            raise MissingRow(UNKNOWN_SKU)

    async def _insert_made(self, connection: Connection) -> None:
        await connection.execute(queries("flush")["insert_holds"], *columns(self._made.values()))

    async def _copy_made(self, connection: Connection) -> None:
        await connection.copy_records_to_table("holds", records=self._made.values(), columns=HOLD_COLUMNS)

    async def _write_older(self, connection: Connection) -> None:
        sql = queries("flush")
        changed = 0
        if self._extended:
            changed += rows_of(await connection.execute(sql["extend_holds"], *columns(self._extended.items())))
        if self._settled:
            settled = [(hold_id, *ending) for hold_id, ending in self._settled.items()]
            changed += rows_of(await connection.execute(sql["settle_holds"], *columns(settled)))
        if changed == len(self._extended) + len(self._settled):
            return
        # Some have ended before, or were never made.
        older = self._settled.keys() | self._extended.keys()
        if await connection.fetchval(sql["count_holds"], list(older)) != len(older):
            raise MissingRow("an event speaks of a hold that was never made")
