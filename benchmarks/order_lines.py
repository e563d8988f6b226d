"""Reads order lines as a shop's books have them, and gives each row its treatment. Nothing is dropped uncounted."""

from __future__ import annotations

import csv
import enum
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from msgspec import Struct

MAX_ROWS = 2_000_000
MAX_UNITS = 100_000_000
MAX_PRICE = 1_000_000_000
REQUIRED = ("InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")

NO_PRODUCT = frozenset(
    {"POST", "DOT", "C2", "C3", "D", "M", "S", "B", "BANK CHARGES", "AMAZONFEE", "CRUK", "ADJUST", "ADJUST2"}
)
"""Codes of the shop's books behind which no units lie: postage, carriage, discounts, manual entries, fees, bad debt."""

SKU_PREFIX = re.compile(r"[A-Za-z0-9._:-]{0,63}", re.ASCII)
"""What may stand before every SKU, and leaves room for at least one character."""

_SKU = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_WHOLE = re.compile(r"(-?[0-9]{1,12})(?:\.0+)?", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]{1,64}", re.ASCII)


class Kind(enum.StrEnum):
    """What a row that is replayed does to stock; the value says how."""

    SALE = "sale to a customer: held and committed"
    GUEST_SALE = "sale to a guest: held and committed without a customer"
    FREE_SALE = "sale at price 0: held and committed, units leave as for any price"
    RETURN = "cancellation (C…): returned, an adjustment up with the invoice as reference"
    WRITE_OFF = "negative without cancellation: written off, an adjustment down"


class Skip(enum.StrEnum):
    """Why a row is not replayed."""

    NO_PRODUCT = "no product (postage, fee, discount, manual entry): skipped"
    BAD_SKU = "code that cannot be a SKU: skipped"
    NEGATIVE_PRICE = "negative price (an entry of the books): skipped"
    ZERO_QUANTITY = "quantity 0: skipped"
    POSITIVE_CANCELLATION = "cancellation of a positive quantity: skipped"
    BAD_QUANTITY = "malformed, quantity is no whole number: skipped"
    BAD_PRICE = "malformed, price is no usable number: skipped"
    BAD_DATE = "malformed, date is not ISO: skipped"
    BAD_INVOICE = "malformed, no usable invoice number: skipped"
    BAD_CUSTOMER = "malformed, no usable customer: skipped"
    BAD_ROW = "malformed, wrong number of values: skipped"


class OrderLine(Struct, frozen=True):
    """One row that moves stock. `units` is above 0; `kind` says which way they go."""

    row: int
    kind: Kind
    invoice: str
    sku: str
    units: int
    at: datetime
    price: Decimal
    customer_id: str | None


class OrderFileError(ValueError):
    """The file cannot be read as order lines at all; the message is one line."""


def read_order_lines(path: Path, sku_prefix: str = "") -> Iterator[OrderLine | Skip]:
    """Read and judge every row, in the file's order. Raises OrderFileError."""
    try:
        # Only descriptions have letters beyond ASCII, and those are not used: a byte of another encoding harms nothing.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, None)
            if header is None:
                raise OrderFileError(f"{path}: the file is empty")
            places = _places(path, header)
            for row, cells in enumerate(reader, start=1):
                if row > MAX_ROWS:
                    raise OrderFileError(f"{path}: more than {MAX_ROWS:,} rows; split it")
                if cells:
                    yield judge_row(row, _pick(cells, places), sku_prefix)
    except csv.Error as error:
        raise OrderFileError(f"{path}: not a CSV file: {error}") from None
    except OSError as error:
        raise OrderFileError(f"{path}: {error.strerror or error}") from None


def _places(path: Path, header: list[str]) -> list[int]:
    names = [name.strip().lower().replace(" ", "") for name in header]
    missing = [name for name in REQUIRED if name.lower() not in names]
    if missing:
        raise OrderFileError(f"{path}: the first line names no column {', '.join(missing)}")
    return [names.index(name.lower()) for name in REQUIRED]


def _pick(cells: list[str], places: list[int]) -> list[str] | None:
    return [cells[place].strip() for place in places] if len(cells) > max(places) else None


def judge_row(row: int, cells: list[str] | None, sku_prefix: str = "") -> OrderLine | Skip:
    """Give one row, its REQUIRED values in that order, its treatment."""
    if cells is None:
        return Skip.BAD_ROW
    invoice, code, quantity_text, date_text, price_text, customer_text = cells
    units, price, at = _whole(quantity_text), _price(price_text), _moment(date_text)
    customer = customer_text.removesuffix(".0")
    sku = sku_prefix + code
    refusals = (
        (Skip.NO_PRODUCT, code.upper() in NO_PRODUCT),
        (Skip.BAD_SKU, not _SKU.fullmatch(sku) or not code),
        (Skip.BAD_INVOICE, not _PRINTABLE.fullmatch(invoice)),
        (Skip.BAD_QUANTITY, units is None or abs(units) > MAX_UNITS),
        (Skip.BAD_PRICE, price is None),
        (Skip.BAD_DATE, at is None),
        (Skip.BAD_CUSTOMER, bool(customer) and not _PRINTABLE.fullmatch(customer)),
        (Skip.NEGATIVE_PRICE, price is not None and price < 0),
        (Skip.ZERO_QUANTITY, units == 0),
        (Skip.POSITIVE_CANCELLATION, is_cancellation(invoice) and units is not None and units > 0),
    )
    for skip, applies in refusals:
        if applies:
            return skip
    if units is None or price is None or at is None:
        raise AssertionError("judged above")
    kind = _kind(invoice, units, price, customer)
    return OrderLine(row, kind, invoice, sku, abs(units), at, price, customer or None)


def is_cancellation(invoice: str) -> bool:
    return invoice[:1] in ("C", "c")


def _kind(invoice: str, units: int, price: Decimal, customer: str) -> Kind:
    if is_cancellation(invoice):
        return Kind.RETURN
    if units < 0:
        return Kind.WRITE_OFF
    if price == 0:
        return Kind.FREE_SALE
    return Kind.SALE if customer else Kind.GUEST_SALE


def _whole(text: str) -> int | None:
    found = _WHOLE.fullmatch(text)
    return None if found is None else int(found[1])


def _price(text: str) -> Decimal | None:
    try:
        price = Decimal(text)
    except InvalidOperation:
        return None
    return price if price.is_finite() and price.copy_abs() <= MAX_PRICE else None


def _moment(text: str) -> datetime | None:
    """ISO with T or a space; a time without a zone, as shops write it, is taken for UTC: only the order matters."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
