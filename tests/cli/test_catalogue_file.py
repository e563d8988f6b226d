"""The file of a catalogue: what is read of it row by row, and which file is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.catalogue_file import CatalogueFileError, count_records, format_of, read_catalogue
from cli.catalogue_rows import Rejected, StockedRow, judge_records
from tests.cli.catalogue_files import HEADER, written


def read(path: Path) -> list[StockedRow | Rejected]:
    with read_catalogue(path, format_of(path)) as table:
        return list(judge_records(table.records, "USD"))


def test_bom_crlf_quoted_newlines_padding_and_blank_rows_are_no_obstacle(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\ufeffSKU, Name ,PRICE,Quantity,Description\r\n"
        'A,"Mug, ""big""",1.00,5,"two\r\nlines",,\r\n\r\n,,,,\r\nB,x,2,6,\r\n',
    )
    first, second = read(path)
    assert isinstance(first, StockedRow)
    assert isinstance(second, StockedRow)
    assert (first.catalogue.name, first.catalogue.description) == ('Mug, "big"', "two\r\nlines")
    assert (second.catalogue.sku, second.catalogue.description, second.catalogue.currency) == ("B", None, "USD")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_the_separator_is_told_by_the_first_line(tmp_path: Path, delimiter: str) -> None:
    text = "sku,name,price,quantity\nA,Mug,1.00,5\n".replace(",", delimiter)
    assert [type(row) for row in read(written(tmp_path, text))] == [StockedRow]


def test_of_rows_with_one_sku_the_first_that_is_good_counts(tmp_path: Path) -> None:
    rows = read(written(tmp_path, f"{HEADER}\nA,bad,-1,1\nA,good,1,2\nA,late,1,3\n"))
    assert [type(row) for row in rows] == [Rejected, StockedRow, Rejected]
    assert isinstance(rows[2], Rejected)
    assert (rows[2].record.line, rows[2].reason) == (4, "sku: was there before in this file")


def test_a_broken_row_costs_itself_and_not_its_neighbours(tmp_path: Path) -> None:
    rows = read(written(tmp_path, f'{HEADER}\nA,"12" ruler",1,1\nB,x,1\nC,x,1,1,more\nD,fine,1,1\nE,"open,1,1\n'))
    assert [(row.record.line, "quotes" in row.reason) for row in rows if isinstance(row, Rejected)] == [
        (2, True),
        (3, False),
        (4, False),
        (6, True),
    ]
    assert [row.catalogue.sku for row in rows if isinstance(row, StockedRow)] == ["D"]


def test_json_lines_are_judged_one_by_one_and_numbers_stay_exact(tmp_path: Path) -> None:
    lines = [
        '{"sku": "A", "name": "Mug", "price": 2.55, "quantity": 3, "colour": "red"}',
        "",
        "[1]",
        "{",
        '{"sku": "B", "name": {"en": "Mug"}, "price": 1, "quantity": 1}',
        "[" * 100_000,
        '{"sku": "C", "name": "Mug", "price_minor": 7, "quantity": 1, "customer_limit": null}',
    ]
    path = written(tmp_path, "\n".join(lines), "catalogue.jsonl")
    with read_catalogue(path, "jsonl") as table:
        rows = list(judge_records(table.records, "USD"))
    good = [row.catalogue for row in rows if isinstance(row, StockedRow)]
    assert [(row.sku, row.price_minor) for row in good] == [("A", 255), ("C", 7)]
    assert [row.record.line for row in rows if isinstance(row, Rejected)] == [3, 4, 5, 6]
    assert table.ignored == ["colour"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (f"{HEADER}\n\n".encode(), "there are no rows"),
        (b"sku,price\nA,1\n", "names no column name, quantity"),
        (b"sku,name,quantity\nA,x,1\n", "names no column price (or price_minor)"),
        (b"sku,sku,name,price,quantity\n", "the column sku is there twice"),
        (b"sku,name,price,price_minor,quantity\n", "keep one"),
        (f"{HEADER}\nA,caf\xe9,1,1\n".encode("latin-1"), "not UTF-8"),
        (f"{HEADER}\nA,x,1,1\n".encode("utf-16"), "not UTF-8"),
        (b"x" * 1_100_000, "longer than"),
        (f'{HEADER}\nA,"'.encode() + b"x\n" * 10 + b'","' * 400_000, "longer than"),
    ],
)
def test_a_file_that_is_no_catalogue_is_told_before_anything_is_imported(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(CatalogueFileError) as error:
        count_records(written(tmp_path, content), "csv")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_rows_of_one_product_have_one_currency(tmp_path: Path) -> None:
    rows = read(written(tmp_path, f"{HEADER},product,currency\nA,x,1,1,p,EUR\nB,x,1,1,p,USD\nC,x,1,1,q,USD\n"))
    assert [type(row) for row in rows] == [StockedRow, Rejected, StockedRow]
    assert isinstance(rows[1], Rejected)
    assert rows[1].reason == "currency: is not that of the product's first row"


def test_an_attribute_keeps_its_type_where_the_file_has_one(tmp_path: Path) -> None:
    line = '{"sku": "A", "name": "x", "price": 1, "quantity": 1, "attributes": {"n": 2, "f": 1.5, "b": false, "e": ""}}'
    (row,) = read(written(tmp_path, line, "catalogue.jsonl"))
    assert isinstance(row, StockedRow)
    assert row.catalogue.attributes == {"n": 2, "f": 1.5, "b": False}
