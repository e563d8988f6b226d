"""`holdfast import`: what of a catalogue gets in, what is rejected and why, and that asking twice changes nothing."""

from __future__ import annotations

import asyncio
import csv
import json
import string
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from cli.catalogue_file import CatalogueFileError, Record, Value, count_records, format_of, read_catalogue
from cli.catalogue_import import open_warehouse
from cli.catalogue_rows import Rejected, StockedRow, judge_record, judge_records
from cli.demo import DROP_SKU, demo_rows, load_demo
from cli.import_catalogue import command
from engine.catalogue import CURRENCY_DIGITS, MAX_PRICE_MINOR
from engine.settings import Settings
from engine.stock import MAX_COUNT, StockLevel

HEADER = "sku,name,price,quantity"
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


def written(folder: Path, text: str | bytes, name: str = "catalogue.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path) -> list[StockedRow | Rejected]:
    with read_catalogue(path, format_of(path)) as table:
        return list(judge_records(table.records, "USD"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


# Judging values


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
        ({"sku": "BANK CHARGES"}, "sku: must be 1 to 64 letters, digits and . _ : -"),
        ({"sku": "Ä1"}, "sku: must be 1 to 64 letters, digits and . _ : -"),
        ({"sku": "x" * 65}, "sku: must be 1 to 64 letters, digits and . _ : -"),
        ({"sku": True}, "sku: must be text"),
        ({"name": " \n "}, "name: is empty"),
        ({"name": 5}, "name: must be text"),
        ({"name": "bell\a"}, "name: has control characters"),
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
        ({"quantity": "-1"}, "quantity: is negative"),
        ({"quantity": ""}, "quantity: is empty"),
        ({"quantity": None}, "quantity: is empty"),
        ({"quantity": "1000000001"}, "quantity: is more than 1,000,000,000"),
        ({"currency": "QQQ"}, "currency: is no ISO 4217 code"),
        ({"customer_limit": "0"}, "customer_limit: must be at least 1"),
        ({"customer_limit": "two"}, "customer_limit: is not a plain decimal number such as 2.55"),
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


# Reading files


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


# The command


def test_a_dry_run_judges_everything_without_any_server_and_writes_the_rejected_rows(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER},colour\nA,Mug,1,1,red\nB,,1,1,blue\n")
    result = run(path, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.output)
    assert (summary["accepted"], summary["rejected"], summary["reasons"]) == (1, 1, {"name: is empty": 1})
    assert summary["ignored_columns"] == ["colour"]
    with (tmp_path / "catalogue.csv.rejected.csv").open(encoding="utf-8", newline="") as rejects:
        rows = list(csv.reader(rejects))
    assert rows == [
        ["line", "reason", "sku", "name", "price", "quantity", "colour"],
        ["3", "name: is empty", "B", "", "1", "1", "blue"],
    ]


def test_the_file_of_rejected_rows_can_be_mended_and_imported(tmp_path: Path) -> None:
    source = written(tmp_path, f"{HEADER}\nA,Mug,-1,1\nB,Mug,-2,1\n")
    assert run(source, "--dry-run").exit_code == 1
    rejects = tmp_path / "catalogue.csv.rejected.csv"
    rejects.write_text(rejects.read_text().replace("-1", "1"))
    result = run(rejects, "--dry-run", "--json")
    assert json.loads(result.output)["accepted"] == 1
    assert json.loads(result.output)["ignored_columns"] == []


def test_when_nothing_is_rejected_no_file_of_an_earlier_run_stays_behind(tmp_path: Path) -> None:
    rejects = written(tmp_path, "stale", "catalogue.csv.rejected.csv")
    assert run(written(tmp_path, f"{HEADER}\nA,Mug,1,1\n"), "--dry-run").exit_code == 0
    assert not rejects.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "No such file"),
        (["."], "cannot tell the format"),
        ([".", "--format", "csv"], "Is a directory"),
        (["good.csv", "--rejects", "good.csv"], "cannot go into the file"),
        (["good.csv", "--rejects", "no/such/place.csv"], "No such file"),
        (["good.csv", "--currency", "GOLD"], "no ISO 4217 code"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line_and_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    good = written(tmp_path, f"{HEADER}\nA,Mug,1,1\n", "good.csv")
    before = good.read_text()
    result = run(*arguments, "--dry-run")
    assert result.exit_code != 0
    assert message in result.output.splitlines()[-1]
    assert good.read_text() == before


# Against the real servers


@pytest.fixture
def servers(clean_redis_url: str, clean_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", clean_redis_url)
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", clean_database_url)
    return Settings(redis_url=clean_redis_url, database_url=clean_database_url)


def levels(settings: Settings) -> dict[str, StockLevel]:
    async def ask() -> dict[str, StockLevel]:
        async with open_warehouse(settings) as warehouse:
            found: dict[str, StockLevel] = {}
            page = await warehouse.shard.stock_page(None, 500)
            found |= {level.sku: level for level in page.levels}
            while page.next_after is not None:
                page = await warehouse.shard.stock_page(page.next_after, 500)
                found |= {level.sku: level for level in page.levels}
            return found

    return asyncio.run(ask())


def products(settings: Settings) -> dict[str, tuple[object, ...]]:
    async def ask() -> dict[str, tuple[object, ...]]:
        connection = await asyncpg.connect(settings.require_database_url())
        try:
            rows = await connection.fetch(
                "SELECT variant.sku, product.id, product.name, base_price, currency, description, category.slug,"
                " price_adjustment, variant.attributes"
                " FROM products AS product JOIN variants AS variant ON variant.product_id = product.id"
                " LEFT JOIN categories AS category ON category.id = product.category_id"
            )
        finally:
            await connection.close()
        return {row["sku"]: tuple(row)[2:] for row in rows}

    return asyncio.run(ask())


def test_an_import_makes_products_and_stock_and_the_second_time_nothing(tmp_path: Path, servers: Settings) -> None:
    rows = [f"SKU-{i},Mug {i},{i}.50,{i},{'' if i % 2 else 2}" for i in range(1_200)]
    path = written(tmp_path, f"{HEADER},customer_limit\n" + "\n".join(rows) + "\nSKU-7,again,1,1,\n")
    first = json.loads(run(path, "--json").output)
    assert (first["accepted"], first["created"], first["kept"], first["rejected"]) == (1_200, 1_200, 0, 1)
    before, catalogue = levels(servers), products(servers)
    assert before["SKU-498"] == StockLevel("SKU-498", 498, 0, 0, 498, 2)
    assert catalogue["SKU-9"] == ("Mug 9", 950, "USD", "", None, 0, "{}")
    second = json.loads(run(path, "--json").output)
    assert (second["accepted"], second["created"], second["kept"], second["updated"]) == (1_200, 0, 1_200, 0)
    assert (levels(servers), products(servers)) == (before, catalogue)


def test_a_second_file_changes_names_and_prices_and_keeps_counts(tmp_path: Path, servers: Settings) -> None:
    header = f"{HEADER},description,category\n"
    assert run(written(tmp_path, header + "A,Mug,1,5,Holds tea,Home\nB,Cap,1,5,,\n")).exit_code == 0
    result = run(written(tmp_path, header + "A,Big mug,2,99,,\nB,Cap,1,5,,\n"), "--json")
    summary = json.loads(result.output)
    assert (summary["kept"], summary["updated"]) == (2, 1)
    assert levels(servers)["A"].available == 5
    assert products(servers)["A"] == ("Big mug", 200, "USD", "Holds tea", "home", 0, "{}")


SHIRTS = """\
sku,name,price,quantity,product,category,attributes.Size,attributes
TEE-S,T-shirt,29.00,5,tee,Clothing/Shirts,S,"{""eco"": true}"
TEE-XL,ignored,32.00,5,tee,,XL,
MUG,Mug,9.00,5,,Home/Clothing/Shirts,,
TEE-M,T-shirt,29.00,5,tee,,M,
"""


def test_rows_that_share_a_product_are_its_variants_and_categories_are_made(tmp_path: Path, servers: Settings) -> None:
    path = written(tmp_path, SHIRTS)
    first = json.loads(run(path, "--json").output)
    assert (first["created"], first["rejected"], first["ignored_columns"]) == (4, 0, [])
    catalogue = products(servers)
    shirt = ("T-shirt", 2_900, "USD", "", "clothing-shirts")
    assert catalogue["TEE-S"] == (*shirt, 0, '{"eco": true, "Size": "S"}')
    assert catalogue["TEE-XL"] == (*shirt, 300, '{"Size": "XL"}')
    assert catalogue["MUG"][4] == "home-clothing-shirts"
    second = json.loads(run(path, "--json").output)
    assert (second["created"], second["updated"], products(servers)) == (0, 0, catalogue)


def test_a_product_that_is_there_is_joined_and_no_price_moves_that_was_not_told(
    tmp_path: Path, servers: Settings
) -> None:
    assert run(written(tmp_path, SHIRTS)).exit_code == 0
    more = written(tmp_path, f"{HEADER},product\nTEE-XXL,T-shirt,35.00,5,tee\nTEE-S,T-shirt,30.00,5,tee\n")
    summary = json.loads(run(more, "--json").output)
    assert (summary["created"], summary["updated"]) == (1, 1)
    found = {sku: row[1:2] + row[5:6] for sku, row in products(servers).items()}
    assert found["TEE-XXL"] == (2_900, 600)
    assert found["TEE-S"] == (2_900, 100)
    assert found["TEE-XL"] == (2_900, 300)


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


def test_the_demo_is_loaded_into_an_empty_system_only(servers: Settings) -> None:
    assert asyncio.run(load_demo(servers)) == len(demo_rows()) == 17
    catalogue = products(servers)
    shirts = {row[:6] for sku, row in catalogue.items() if sku.startswith("TEE-")}
    shirt = ("Harbour T-shirt", 2_900, "EUR", "Heavy organic cotton.", "clothing-t-shirts")
    assert shirts == {(*shirt, 0), (*shirt, 300)}
    drop = levels(servers)[DROP_SKU]
    assert (drop.available, drop.customer_limit) == (1_000, 2)
    assert asyncio.run(load_demo(servers)) == 0


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


def test_without_a_system_an_import_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    result = run(written(tmp_path, f"{HEADER}\nA,Mug,1,1\n"))
    assert result.exit_code == 1
    assert "unavailable" in result.output
