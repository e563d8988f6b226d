"""Judges the records of a catalogue file: each becomes a row that can be imported, or a reason why it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from api.messages.texts import PLAIN_TEXT, RULES, WITHOUT_CONTROLS
from cli.catalogue_file import ATTRIBUTE_FIELD, Record, Value
from engine.catalogue import (
    CURRENCY_DIGITS,
    MAX_ATTRIBUTE_LENGTH,
    MAX_ATTRIBUTE_NAME_LENGTH,
    MAX_ATTRIBUTE_NUMBER,
    MAX_ATTRIBUTES,
    MAX_CATEGORY_DEPTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_HANDLE_LENGTH,
    MAX_NAME_LENGTH,
    MAX_PRICE_MINOR,
    MAX_VARIANTS_OF_PRODUCT,
    AttributeValue,
    CatalogueRow,
)
from engine.stock import MAX_COUNT, SKU_PATTERN, Sku

MAX_DIGITS = 30
MAX_CATEGORY_LENGTH = MAX_CATEGORY_DEPTH * (MAX_NAME_LENGTH + 1)
WHOLE = "must be a whole number"
DECIMAL = "is not a plain decimal number such as 2.55"
_NUMBER = re.compile(rf"(-?)([0-9]{{1,{MAX_DIGITS}}})(?:\.([0-9]{{1,{MAX_DIGITS}}}))?", re.ASCII)
_ONE_LINE = re.compile(WITHOUT_CONTROLS)
_PLAIN = re.compile(PLAIN_TEXT)
_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON can spell and UTF-8 cannot."""


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
    """Judge each record, in order; of the rows with the same SKU only the first is taken.

    The first row of a product says its name, description and category for all of them.
    """
    seen: set[str] = set()
    products: dict[str, _ProductSoFar] = {}
    for record in records:
        judged = judge_record(record, default_currency)
        if isinstance(judged, StockedRow):
            if judged.catalogue.sku in seen:
                judged = Rejected(record, "sku: was there before in this file")
            elif judged.catalogue.product is not None:
                judged = _join(judged, record, products)
        if isinstance(judged, StockedRow):
            seen.add(judged.catalogue.sku)
        yield judged


class _ProductSoFar(Struct):
    """The first row of a product, and how many followed it."""

    first: CatalogueRow
    variants: int = 0


def _join(row: StockedRow, record: Record, products: dict[str, _ProductSoFar]) -> StockedRow | Rejected:
    told = row.catalogue
    product = products.setdefault(told.product or "", _ProductSoFar(told))
    if told.currency != product.first.currency:
        return Rejected(record, "currency: is not that of the product's first row")
    if product.variants == MAX_VARIANTS_OF_PRODUCT:
        return Rejected(record, f"product: has more than {MAX_VARIANTS_OF_PRODUCT} rows")
    product.variants += 1
    first = product.first
    joined = replace(told, name=first.name, description=first.description, category=first.category)
    return StockedRow(joined, row.quantity, row.customer_limit)


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
        category=_path(values.get("category")),
        product=_text("product", values.get("product"), MAX_HANDLE_LENGTH) or None,
        attributes=_attributes(values),
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
        raise _RejectionError(f"sku: {RULES[SKU_PATTERN]}") from None


def _text(field: str, value: Value, max_length: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _RejectionError(f"{field}: must be text")
    text = value.strip()
    if len(text) > max_length:
        raise _RejectionError(f"{field}: has more than {max_length:,} characters")
    if not _PLAIN.match(text) or _HALF.search(text):
        raise _RejectionError(f"{field}: has control characters")
    return text


def _path(value: Value) -> tuple[str, ...]:
    """The names from the root down to a category such as Home/Candles; empty for none."""
    text = _text("category", value, MAX_CATEGORY_LENGTH)
    names = tuple(" ".join(name.split()) for name in text.split("/")) if text else ()
    if not all(names):
        raise _RejectionError("category: has a name that is empty, as in Home//Candles")
    if len(names) > MAX_CATEGORY_DEPTH:
        raise _RejectionError(f"category: has more than {MAX_CATEGORY_DEPTH} levels")
    if any(len(name) > MAX_NAME_LENGTH for name in names):
        raise _RejectionError(f"category: has a name of more than {MAX_NAME_LENGTH} characters")
    return names


def _attributes(values: dict[str, Value]) -> dict[str, AttributeValue]:
    """What `attributes` (a JSON object) and `attributes.size` and the like say; an empty value says nothing."""
    found: dict[str, AttributeValue] = {}
    for name, value in {**_object(values.get("attributes")), **_prefixed(values)}.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if not 1 <= len(name) <= MAX_ATTRIBUTE_NAME_LENGTH or not _is_one_line(name):
            raise _RejectionError("attributes: has a name that is empty, too long or has control characters")
        found[name] = _attribute(value)
    if len(found) > MAX_ATTRIBUTES:
        raise _RejectionError(f"attributes: has more than {MAX_ATTRIBUTES}")
    return found


def _prefixed(values: dict[str, Value]) -> dict[str, Any]:
    return {
        name.removeprefix(ATTRIBUTE_FIELD): value for name, value in values.items() if name.startswith(ATTRIBUTE_FIELD)
    }


def _object(value: Value) -> dict[str, Any]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise _RejectionError("attributes: must be a JSON object")
    return value


def _attribute(value: object) -> AttributeValue:
    match value:
        case bool():
            return value
        case str() if len(value.strip()) <= MAX_ATTRIBUTE_LENGTH and _is_one_line(value.strip()):
            return value.strip()
        case int() if abs(value) <= MAX_ATTRIBUTE_NUMBER:
            return value
        case Decimal() if abs(value) <= MAX_ATTRIBUTE_NUMBER:
            return float(value)
        case float() if abs(value) <= MAX_ATTRIBUTE_NUMBER:
            return value
    raise _RejectionError("attributes: has a value that is no short text, number or boolean")


def _is_one_line(text: str) -> bool:
    return bool(_ONE_LINE.match(text)) and not _HALF.search(text)


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
    sign, whole, decimals = _number(field, value, DECIMAL if digits else WHOLE)
    if len(decimals) > digits:
        raise _RejectionError(f"{field}: has more decimals than its currency" if digits else f"{field}: {WHOLE}")
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
    sign, whole, decimals = _number(field, value, WHOLE)
    if decimals:
        raise _RejectionError(f"{field}: {WHOLE}")
    if sign and int(whole):
        raise _RejectionError(f"{field}: is negative")
    if int(whole) > MAX_COUNT:
        raise _RejectionError(f"{field}: is more than {MAX_COUNT:,}")
    return int(whole)


def _number(field: str, value: Value, rule: str) -> tuple[str, str, str]:
    """Sign, whole part and decimals without trailing zeros, exactly as written: nothing passes through a float.

    `rule` is what is said of anything else.
    """
    if isinstance(value, bool):
        raise _RejectionError(f"{field}: must be a number")
    if isinstance(value, Decimal) and abs(value.adjusted()) <= MAX_DIGITS:
        value = f"{value:f}"
    text = "" if value is None else str(value).strip()
    if not text:
        raise _RejectionError(f"{field}: is empty")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise _RejectionError(f"{field}: {rule}")
    sign, whole, decimals = found.groups()
    return sign, whole, (decimals or "").rstrip("0")
