"""The rows of a catalogue: which get in, and for what reason the others do not."""

from __future__ import annotations

import string
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.catalogue_file import Record, Value
from cli.catalogue_rows import Rejected, StockedRow, judge_record
from cli.demo import demo_rows
from engine.catalogue import CURRENCY_DIGITS, MAX_PRICE_MINOR
from engine.stock import MAX_COUNT

GOOD: dict[str, Value] = {"sku": "A-1", "name": "Mug", "price": "2.55", "quantity": "10", "currency": "GBP"}


def judge(**changes: Value) -> StockedRow | Rejected:
    return judge_record(Record(2, GOOD | changes), "USD")


def reason(**changes: Value) -> str:
    judged = judge(**changes)
    assert isinstance(judged, Rejected), judged
    return judged.reason


def accepted(**changes: Value) -> StockedRow:
    judged = judge(**changes)
    assert isinstance(judged, StockedRow), judged
    return judged


@given(
    minor=st.integers(0, MAX_PRICE_MINOR),
    currency=st.sampled_from(["JPY", "GBP", "BHD"]),
    as_number=st.booleans(),
    zeros=st.integers(0, 3),
)
def test_a_price_in_major_units_is_exact_in_minor_units_whatever_the_currency(
    *, minor: int, currency: str, as_number: bool, zeros: int
) -> None:
    price = Decimal(minor).scaleb(-CURRENCY_DIGITS[currency])
    text = f"{price:f}" + ("0" * zeros if "." in f"{price:f}" else "")
    value: Value = Decimal(text) if as_number else text
    assert accepted(price=value, currency=currency).catalogue.price_minor == minor


@given(st.text(max_size=70), st.text(max_size=20), st.text(max_size=12), st.text(max_size=12))
def test_no_text_makes_the_judge_fail_or_let_a_bad_value_in(sku: str, name: str, price: str, quantity: str) -> None:
    judged = judge(sku=sku, name=name, price=price, quantity=quantity)
    if isinstance(judged, StockedRow):
        allowed = set(string.ascii_letters + string.digits + "._:-")
        assert 1 <= len(judged.catalogue.sku) <= 64
        assert set(judged.catalogue.sku) <= allowed
        assert judged.catalogue.name
        assert 0 <= judged.catalogue.price_minor <= MAX_PRICE_MINOR
        assert 0 <= judged.quantity <= MAX_COUNT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sku": ""}, "sku: is empty"),
        ({"sku": None}, "sku: is empty"),
        ({"sku": "BANK CHARGES"}, "sku: must be 1 to 64 of A-Z a-z 0-9 . _ : -"),
        ({"sku": "Ä1"}, "sku: must be 1 to 64 of A-Z a-z 0-9 . _ : -"),
        ({"sku": "x" * 65}, "sku: must be 1 to 64 of A-Z a-z 0-9 . _ : -"),
        ({"sku": True}, "sku: must be text"),
        ({"name": " \n "}, "name: is empty"),
        ({"name": 5}, "name: must be text"),
        ({"name": "bell\a"}, "name: has control characters"),
        ({"name": "Mug \x90 blue"}, "name: has control characters"),
        ({"description": "half \ud800"}, "description: has control characters"),
        ({"name": "x" * 201}, "name: has more than 200 characters"),
        ({"price": "-0.01"}, "price: is negative"),
        ({"price": "2.555"}, "price: has more decimals than its currency"),
        ({"price": "2.5", "currency": "JPY"}, "price: must be a whole number"),
        ({"price": "1e3"}, "price: is not a plain decimal number such as 2.55"),
        ({"price": "NaN"}, "price: is not a plain decimal number such as 2.55"),
        ({"price": "£2.55"}, "price: is not a plain decimal number such as 2.55"),
        ({"price": "2,55"}, "price: is not a plain decimal number such as 2.55"),
        ({"price": "٣"}, "price: is not a plain decimal number such as 2.55"),
        ({"price": Decimal("1E+400")}, "price: is not a plain decimal number such as 2.55"),
        ({"price": ""}, "price: is empty"),
        ({"price": True}, "price: must be a number"),
        ({"price": "10000000000.01"}, "price: is more than 1,000,000,000,000 minor units"),
        ({"price_minor": "255"}, "price: price and price_minor are both there; keep one"),
        ({"price": None, "price_minor": "2.5"}, "price_minor: must be a whole number"),
        ({"quantity": "1.5"}, "quantity: must be a whole number"),
        ({"quantity": "many"}, "quantity: must be a whole number"),
        ({"price": "2,5", "currency": "JPY"}, "price: must be a whole number"),
        ({"quantity": "-1"}, "quantity: is negative"),
        ({"quantity": ""}, "quantity: is empty"),
        ({"quantity": None}, "quantity: is empty"),
        ({"quantity": "1000000001"}, "quantity: is more than 1,000,000,000"),
        ({"currency": "QQQ"}, "currency: is no ISO 4217 code"),
        ({"customer_limit": "0"}, "customer_limit: must be at least 1"),
        ({"customer_limit": "two"}, "customer_limit: must be a whole number"),
        ({"category": "Home//Candles"}, "category: has a name that is empty, as in Home//Candles"),
        ({"category": "/Home"}, "category: has a name that is empty, as in Home//Candles"),
        ({"category": "/".join("x" * 17)}, "category: has more than 16 levels"),
        ({"category": "x" * 201}, "category: has a name of more than 200 characters"),
        ({"product": "x" * 201}, "product: has more than 200 characters"),
        ({"attributes": "red"}, "attributes: must be a JSON object"),
        ({"attributes": "[1]"}, "attributes: must be a JSON object"),
        ({"attributes": '{"a": [1]}'}, "attributes: has a value that is no short text, number or boolean"),
        ({"attributes": '{"a": 1e300}'}, "attributes: has a value that is no short text, number or boolean"),
        ({"attributes": '{"": 1}'}, "attributes: has a name that is empty, too long or has control characters"),
        ({"attributes.size": "x" * 501}, "attributes: has a value that is no short text, number or boolean"),
        ({f"attributes.{i}": "x" for i in range(51)}, "attributes: has more than 50"),
    ],
)
def test_a_dirty_value_is_rejected_for_the_reason_that_it_has(changes: dict[str, Value], expected: str) -> None:
    assert reason(**changes) == expected


def test_a_price_of_zero_and_a_quantity_of_zero_are_values_like_others() -> None:
    row = accepted(price="0", quantity="0.0")
    assert (row.catalogue.price_minor, row.quantity) == (0, 0)


def test_what_a_spreadsheet_does_to_numbers_is_understood() -> None:
    row = accepted(sku=71053, quantity=Decimal("6.0"), price=Decimal("1E+2"))
    assert (row.catalogue.sku, row.quantity, row.catalogue.price_minor) == ("71053", 6, 10_000)


def test_the_demo_would_pass_as_a_file() -> None:
    for row in demo_rows():
        told = row.catalogue
        record = Record(
            2,
            {
                "sku": told.sku,
                "name": told.name,
                "price_minor": told.price_minor,
                "quantity": row.quantity,
                "currency": told.currency,
                "customer_limit": row.customer_limit,
                "description": told.description,
                "category": "/".join(told.category),
                "product": told.product,
                "attributes": dict(told.attributes),
            },
        )
        assert judge_record(record, "USD") == row
