"""Order lines: each row of a shop's real books gets one stated treatment."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.order_lines import (
    Kind,
    OrderFileError,
    OrderLine,
    Skip,
    judge_row,
    read_order_lines,
)

GOOD = {
    "invoice": "536365",
    "code": "85123A",
    "quantity": "6",
    "date": "2010-12-01T08:26:00",
    "price": "2.55",
    "customer": "17850",
}


def judge(**changes: str) -> OrderLine | Skip:
    return judge_row(1, list((GOOD | changes).values()))


def test_a_plain_row_is_a_sale_to_its_customer() -> None:
    assert judge() == OrderLine(
        1, Kind.SALE, "536365", "85123A", 6, datetime(2010, 12, 1, 8, 26, tzinfo=UTC), Decimal("2.55"), "17850"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"customer": ""}, Kind.GUEST_SALE),
        ({"price": "0.0"}, Kind.FREE_SALE),
        ({"price": "0", "customer": ""}, Kind.FREE_SALE),
        ({"invoice": "C536379", "quantity": "-1"}, Kind.RETURN),
        ({"invoice": "c536379", "quantity": "-1", "price": "0"}, Kind.RETURN),
        ({"quantity": "-10", "price": "0", "customer": ""}, Kind.WRITE_OFF),
        ({"code": "POST"}, Skip.NO_PRODUCT),
        ({"code": "m", "price": "-3"}, Skip.NO_PRODUCT),
        ({"code": "BANK CHARGES"}, Skip.NO_PRODUCT),
        ({"invoice": "C536379", "code": "D", "quantity": "-1"}, Skip.NO_PRODUCT),
        ({"code": ""}, Skip.BAD_SKU),
        ({"code": "GIFT CARD"}, Skip.BAD_SKU),
        ({"code": "x" * 65}, Skip.BAD_SKU),
        ({"code": "85123A\n"}, Skip.BAD_SKU),
        ({"price": "-11062.06"}, Skip.NEGATIVE_PRICE),
        ({"quantity": "0"}, Skip.ZERO_QUANTITY),
        ({"invoice": "C1", "quantity": "5"}, Skip.POSITIVE_CANCELLATION),
        ({"quantity": "1.5"}, Skip.BAD_QUANTITY),
        ({"quantity": ""}, Skip.BAD_QUANTITY),
        ({"quantity": "9" * 10}, Skip.BAD_QUANTITY),
        ({"price": ""}, Skip.BAD_PRICE),
        ({"price": "Infinity"}, Skip.BAD_PRICE),
        ({"price": "1000000000.01"}, Skip.BAD_PRICE),
        ({"price": "-9e9999999"}, Skip.BAD_PRICE),
        ({"date": "12/1/2010 8:26"}, Skip.BAD_DATE),
        ({"date": "2010-02-30T08:00:00"}, Skip.BAD_DATE),
        ({"invoice": ""}, Skip.BAD_INVOICE),
        ({"customer": "not a number"}, Skip.BAD_CUSTOMER),
    ],
)
def test_each_kind_of_dirty_row_has_its_treatment(changes: dict[str, str], expected: Kind | Skip) -> None:
    judged = judge(**changes)
    assert (judged.kind if isinstance(judged, OrderLine) else judged) == expected


def test_units_are_counted_up_whichever_way_they_go() -> None:
    judged = judge(invoice="C1", quantity="-12")
    assert isinstance(judged, OrderLine)
    assert judged.units == 12


def test_dates_with_a_space_a_zone_or_a_fraction_are_one_moment() -> None:
    texts = ("2010-12-01 08:26:00", "2010-12-01T08:26", "2010-12-01T09:26:00+01:00", "2010-12-01T08:26:00.000")
    for text in texts:
        judged = judge(date=text)
        assert isinstance(judged, OrderLine)
        assert judged.at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def test_what_a_spreadsheet_does_to_numbers_is_understood() -> None:
    judged = judge(quantity="6.0", customer="17850.0")
    assert isinstance(judged, OrderLine)
    assert (judged.units, judged.customer_id) == (6, "17850")


@given(st.lists(st.text(max_size=30), min_size=6, max_size=6))
def test_no_text_makes_the_judge_fail_or_let_a_bad_value_in(cells: list[str]) -> None:
    judged = judge_row(1, cells)
    if isinstance(judged, OrderLine):
        assert judged.units > 0
        assert judged.price >= 0


def test_columns_may_come_in_any_order_and_with_others_between_them(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(
        "\ufeffCountry,Customer ID,UnitPrice,Description,invoicedate,Quantity,StockCode,InvoiceNo\r\n"
        'UK,17850,2.55,"a ""quoted"", name\r\nof two lines",2010-12-01 08:26:00,6,85123A,536365\r\n'
        "\r\nUK,17850\r\n".encode()
        + b"UK,17850,2.55,\xa3 in latin-1,2010-12-01 08:26:00,1,71053,536365\r\n"
    )
    first, short, second = read_order_lines(path, sku_prefix="run-")
    assert isinstance(first, OrderLine)
    assert isinstance(second, OrderLine)
    assert (first.sku, first.units, second.sku, short) == ("run-85123A", 6, "run-71053", Skip.BAD_ROW)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n", "names no column InvoiceNo, StockCode"),
        (b"InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice\n", "names no column CustomerID"),
        (b"\x00\x01\xff", "names no column"),
    ],
)
def test_a_file_without_the_columns_is_refused_by_their_names(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    with pytest.raises(OrderFileError, match=message):
        list(read_order_lines(path))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrderFileError, match="No such file"):
        list(read_order_lines(tmp_path / "nowhere.csv"))
