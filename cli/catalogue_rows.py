"""Judges the records of a catalogue file: each becomes a row that can be imported, or a reason why it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec
from msgspec import Struct

from cli.catalogue_file import Record, Value
from engine.catalogue import (
    CURRENCY_DIGITS,
    MAX_CATEGORY_LENGTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_NAME_LENGTH,
    MAX_PRICE_MINOR,
    CatalogueRow,
)
from engine.stock import MAX_COUNT, Sku

MAX_DIGITS = 30
_NUMBER = re.compile(rf"(-?)([0-9]{{1,{MAX_DIGITS}}})(?:\.([0-9]{{1,{MAX_DIGITS}}}))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[\ud800-\udfff]")


class StockedRow(Struct, frozen=True):
    """A SKU of the file: how the catalogue describes it, and the stock that it starts with."""

    catalogue: CatalogueRow
    quantity: int
    customer_limit: int | None


class Rejected(Struct, frozen=True):
    """A record that is not imported, and why; a reason quotes no value, so there are few different ones."""

    record: Record
    reason: str


class _RejectionError(ValueError):
    """The reason why a record is rejected."""


def judge_records(records: Iterable[Record], default_currency: str) -> Iterator[StockedRow | Rejected]:
    """Judge each record, in order; of the rows with the same SKU only the first is taken."""
    seen: set[str] = set()
    for record in records:
        judged = judge_record(record, default_currency)
        if isinstance(judged, StockedRow):
            sku = judged.catalogue.sku
            if sku in seen:
                judged = Rejected(record, "sku: was there before in this file")
            seen.add(sku)
        yield judged


def judge_record(record: Record, default_currency: str) -> StockedRow | Rejected:
    """Turn one record into a row, or say why it cannot be one.

    A price of 0 is allowed (samples and gifts are stock too), and so is a quantity of 0 (sold out, or not in yet).
    """
    try:
        return _row_of(record, default_currency)
    except _RejectionError as error:
        return Rejected(record, str(error))


def _row_of(record: Record, default_currency: str) -> StockedRow:
    if record.fault:
        raise _RejectionError(record.fault)
    values = record.values
    sku = _sku(values.get("sku"))
    currency = _currency(values.get("currency"), default_currency)
    description = _text("description", values.get("description"), MAX_DESCRIPTION_LENGTH)
    name = " ".join(_text("name", values.get("name"), MAX_NAME_LENGTH).split())
    if not name:
        raise _RejectionError("name: is empty")
    row = CatalogueRow(
        sku=sku,
        name=name,
        price_minor=_price_minor(values, currency),
        currency=currency,
        description=description or None,
        category=_text("category", values.get("category"), MAX_CATEGORY_LENGTH) or None,
    )
    quantity = _count("quantity", values.get("quantity"))
    if quantity is None:
        raise _RejectionError("quantity: is empty")
    limit = _count("customer_limit", values.get("customer_limit"))
    if limit == 0:
        raise _RejectionError("customer_limit: must be at least 1")
    return StockedRow(row, quantity, limit)


def _sku(value: Value) -> str:
    # A spreadsheet's export to JSON makes numbers of SKUs like 71053.
    sku = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text("sku", value, MAX_NAME_LENGTH)
    if not sku:
        raise _RejectionError("sku: is empty")
    try:
        return msgspec.convert(sku, Sku)
    except msgspec.ValidationError:
        raise _RejectionError("sku: must be 1 to 64 letters, digits and . _ : -") from None


def _text(field: str, value: Value, max_length: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _RejectionError(f"{field}: must be text")
    text = value.strip()
    if len(text) > max_length:
        raise _RejectionError(f"{field}: has more than {max_length:,} characters")
    if _CONTROL.search(text):
        raise _RejectionError(f"{field}: has control characters")
    return text


def _currency(value: Value, default: str) -> str:
    currency = _text("currency", value, max_length=MAX_NAME_LENGTH).upper() or default
    if currency not in CURRENCY_DIGITS:
        raise _RejectionError("currency: is no ISO 4217 code")
    return currency


def _price_minor(values: dict[str, Value], currency: str) -> int:
    if values.get("price") is not None and values.get("price_minor") is not None:
        raise _RejectionError("price: price and price_minor are both there; keep one")
    if values.get("price_minor") is not None:
        return _minor_units("price_minor", values["price_minor"], 0)
    return _minor_units("price", values.get("price"), CURRENCY_DIGITS[currency])


def _minor_units(field: str, value: Value, digits: int) -> int:
    sign, whole, decimals = _number(field, value)
    if len(decimals) > digits:
        raise _RejectionError(
            f"{field}: has more decimals than its currency" if digits else f"{field}: must be a whole number"
        )
    minor = int(whole + decimals.ljust(digits, "0"))
    if sign and minor:
        raise _RejectionError(f"{field}: is negative")
    if minor > MAX_PRICE_MINOR:
        raise _RejectionError(f"{field}: is more than {MAX_PRICE_MINOR:,} minor units")
    return minor


def _count(field: str, value: Value) -> int | None:
    """A whole number of units, from 0; None for no value at all."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    sign, whole, decimals = _number(field, value)
    if decimals:
        raise _RejectionError(f"{field}: must be a whole number")
    if sign and int(whole):
        raise _RejectionError(f"{field}: is negative")
    if int(whole) > MAX_COUNT:
        raise _RejectionError(f"{field}: is more than {MAX_COUNT:,}")
    return int(whole)


def _number(field: str, value: Value) -> tuple[str, str, str]:
    """Sign, whole part and decimals without trailing zeros, exactly as written: nothing passes through a float."""
    if isinstance(value, bool):
        raise _RejectionError(f"{field}: must be a number")
    if isinstance(value, Decimal) and abs(value.adjusted()) <= MAX_DIGITS:
        value = f"{value:f}"
    text = "" if value is None else str(value).strip()
    if not text:
        raise _RejectionError(f"{field}: is empty")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise _RejectionError(f"{field}: is not a plain decimal number such as 2.55")
    sign, whole, decimals = found.groups()
    return sign, whole, (decimals or "").rstrip("0")
