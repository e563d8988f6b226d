"""Puts order lines together as the traffic that they were: invoices in time order, each with what it does to stock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, field

from benchmarks.order_lines import Kind, OrderLine

MAX_LINES = 100
MAX_QUANTITY = 10_000
SALES = frozenset({Kind.SALE, Kind.GUEST_SALE, Kind.FREE_SALE})

Part = tuple[tuple[str, int], ...]


class Invoice(Struct):
    """One invoice: units sold, returned and written off by SKU, repeated SKUs summed."""

    number: str
    at: datetime
    customer_id: str | None = None
    sold: dict[str, int] = field(default_factory=dict)
    returned: dict[str, int] = field(default_factory=dict)
    written_off: dict[str, int] = field(default_factory=dict)
    repeated_lines: int = 0

    def add(self, line: OrderLine) -> None:
        self.at = min(self.at, line.at)
        self.customer_id = self.customer_id or line.customer_id
        side = self.sold if line.kind in SALES else self.returned if line.kind is Kind.RETURN else self.written_off
        self.repeated_lines += line.sku in side
        side[line.sku] = side.get(line.sku, 0) + line.units

    def holds(self) -> list[Part]:
        """The holds that the basket takes: one, unless it has more lines, or more of a SKU, than one hold may."""
        left = dict(self.sold)
        parts: list[Part] = []
        while left:
            lines = [(sku, min(units, MAX_QUANTITY)) for sku, units in left.items()]
            parts += [tuple(lines[i : i + MAX_LINES]) for i in range(0, len(lines), MAX_LINES)]
            left = {sku: units - MAX_QUANTITY for sku, units in left.items() if units > MAX_QUANTITY}
        return parts


def invoices_in_order(lines: Iterable[OrderLine], max_baskets: int | None = None) -> list[Invoice]:
    """Every invoice by its first moment, then by its first row; with `max_baskets`, up to the last of those baskets."""
    invoices: dict[str, Invoice] = {}
    for line in lines:
        invoices.setdefault(line.invoice, Invoice(line.invoice, line.at)).add(line)
    ordered = sorted(invoices.values(), key=lambda invoice: invoice.at)
    if max_baskets is None:
        return ordered
    taken: list[Invoice] = []
    for invoice in ordered:
        if invoice.sold and max_baskets == 0:
            break
        max_baskets -= bool(invoice.sold)
        taken.append(invoice)
    return taken


def stock_needed(invoices: Iterable[Invoice]) -> dict[str, int]:
    """Units a SKU must have so that all is served in whatever order it runs: all sold and written off, no return."""
    needed: defaultdict[str, int] = defaultdict(int)
    for invoice in invoices:
        for sku, units in (*invoice.sold.items(), *invoice.written_off.items()):
            needed[sku] += units
        for sku in invoice.returned:
            needed[sku] += 0
    return dict(needed)
