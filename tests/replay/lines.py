"""Order lines for examples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from benchmarks.order_lines import Kind, OrderLine

START = datetime(2010, 12, 1, 8, tzinfo=UTC)


def line(
    invoice: str,
    sku: str,
    units: int,
    kind: Kind = Kind.SALE,
    minute: int = 0,
    customer: str | None = None,
    price: str = "1",
) -> OrderLine:
    return OrderLine(1, kind, invoice, sku, units, START + timedelta(minutes=minute), Decimal(price), customer)
