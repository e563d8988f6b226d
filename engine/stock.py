"""Stock: the counts of a SKU, and what may be asked of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

MAX_SKU_LENGTH = 64
# The end is spelled as a look-ahead because `$` also matches before a final newline.
SKU_PATTERN = r"^[A-Za-z0-9._:-]+(?![\s\S])"
Sku = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_SKU_LENGTH,
        pattern=SKU_PATTERN,
        description="One sellable unit kind: 1 to 64 letters, digits and . _ : -",
        examples=["85123A"],
    ),
]

MAX_COUNT = 1_000_000_000


class StockLevel(Struct, frozen=True):
    """The counts of a SKU, in units: `received = available + reserved + sold`, none negative."""

    sku: str
    available: int
    reserved: int
    sold: int
    received: int
    customer_limit: int | None

    @property
    def on_hand(self) -> int:
        """Units that physically exist and are not yet sold."""
        return self.available + self.reserved


class Adjust(Struct, frozen=True):
    """Units received (`delta` above 0) or written off (below); with `create`, the SKU's first count."""

    token: str
    fingerprint: str
    sku: str
    delta: int
    reason: str
    reference: str = ""
    create: bool = False
    customer_limit: int | None = None


class StockAnswer(Struct, frozen=True):
    """The stock after an adjustment; `replayed` when this key had been answered before."""

    level: StockLevel
    replayed: bool


class StockPage(Struct, frozen=True):
    """Some SKUs in order, and the SKU after which the next page starts (None: that was the last)."""

    levels: list[StockLevel]
    next_after: str | None


_decode_row = msgspec.json.Decoder(tuple[int, int, int, int, int]).decode


def level_of_row(sku: str, row: bytes | str) -> StockLevel:
    """Read a row as lua/prelude.lua writes it: `[available, reserved, sold, received, customer_limit or 0]`."""
    available, reserved, sold, received, limit = _decode_row(row)
    return StockLevel(sku, available, reserved, sold, received, limit or None)


def row_of_level(level: StockLevel) -> bytes:
    """Write a row as lua/prelude.lua reads it."""
    return msgspec.json.encode((level.available, level.reserved, level.sold, level.received, level.customer_limit or 0))
