"""`holdfast import`: what it says and leaves behind, what it makes, and that asking twice changes nothing."""

from __future__ import annotations

import asyncio
import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result

from cli.demo import DROP_SKU, demo_rows, load_demo
from cli.import_catalogue import command
from engine.settings import Settings
from engine.stock import StockLevel
from jobs.resources import open_resources
from tests.cli.catalogue_files import HEADER, written


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


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


@pytest.mark.parametrize("stale", ["line,reason,sku\n2,gone,A\n", '{"line":2,"reason":"gone"}\n'])
def test_when_nothing_is_rejected_no_file_of_an_earlier_run_stays_behind(tmp_path: Path, stale: str) -> None:
    rejects = written(tmp_path, stale, "catalogue.csv.rejected.csv")
    assert run(written(tmp_path, f"{HEADER}\nA,Mug,1,1\n"), "--dry-run").exit_code == 0
    assert not rejects.exists()


def test_a_file_that_is_no_file_of_rejected_rows_is_left_alone_when_there_are_none(tmp_path: Path) -> None:
    other = written(tmp_path, "dear diary", "other.txt")
    assert run(written(tmp_path, f"{HEADER}\nA,Mug,1,1\n"), "--dry-run", "--rejects", str(other)).exit_code == 0
    assert other.read_text(encoding="utf-8") == "dear diary"
    assert not list(tmp_path.glob("*.part"))


def test_an_import_that_fails_leaves_the_rejected_rows_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejects = written(tmp_path, "line,reason,sku\n2,mended by hand,A\n", "catalogue.csv.rejected.csv")
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    assert run(written(tmp_path, f"{HEADER}\nA,Mug,1,1\nB,,1,1\n")).exit_code != 0
    assert "mended by hand" in rejects.read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.part"))


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "catalogue.csv")
    result = run(pipe, "--dry-run")
    assert result.exit_code == 1
    assert "can be read only once" in result.output


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


@pytest.fixture
def servers(clean_redis_url: str, clean_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", clean_redis_url)
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", clean_database_url)
    return Settings(redis_url=clean_redis_url, database_url=clean_database_url)


def levels(settings: Settings) -> dict[str, StockLevel]:
    async def ask() -> dict[str, StockLevel]:
        async with open_resources(settings) as resources:
            found: dict[str, StockLevel] = {}
            page = await resources.shard.stock_page(None, 500)
            found |= {level.sku: level for level in page.levels}
            while page.next_after is not None:
                page = await resources.shard.stock_page(page.next_after, 500)
                found |= {level.sku: level for level in page.levels}
            return found

    return asyncio.run(ask())


def products(settings: Settings) -> dict[str, tuple[Any, ...]]:
    async def ask() -> dict[str, tuple[Any, ...]]:
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


def test_a_row_changes_no_currency_of_variants_that_it_does_not_speak_of(tmp_path: Path, servers: Settings) -> None:
    assert run(written(tmp_path, SHIRTS)).exit_code == 0
    before = products(servers)
    for row in ("TEE-S,T-shirt,30,5,tee", "TEE-L,T-shirt,30,5,tee"):
        refused = run(written(tmp_path, f"{HEADER},product\n{row}\n"), "--currency", "JPY")
        assert refused.exit_code == 1
        assert "is told in JPY, but its product has other variants, and is sold in USD" in refused.output
        assert products(servers) == before
    rows = "".join(f"TEE-{size},T-shirt,3000,5,tee\n" for size in ("S", "XL", "M"))
    assert run(written(tmp_path, f"{HEADER},product\n{rows}"), "--currency", "JPY").exit_code == 0
    now = {(row[1] + row[5], row[2]) for sku, row in products(servers).items() if sku.startswith("TEE-")}
    assert now == {(3_000, "JPY")}


def test_the_demo_is_loaded_into_an_empty_system_only(servers: Settings) -> None:
    assert asyncio.run(load_demo(servers)) == len(demo_rows()) == 17
    catalogue = products(servers)
    shirts = {row[:6] for sku, row in catalogue.items() if sku.startswith("TEE-")}
    shirt = ("Harbour T-shirt", 2_900, "EUR", "Heavy organic cotton.", "clothing-t-shirts")
    assert shirts == {(*shirt, 0), (*shirt, 300)}
    drop = levels(servers)[DROP_SKU]
    assert (drop.available, drop.customer_limit) == (1_000, 2)
    assert asyncio.run(load_demo(servers)) == 0


def test_without_a_system_an_import_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    result = run(written(tmp_path, f"{HEADER}\nA,Mug,1,1\n"))
    assert result.exit_code == 1
    assert "unavailable" in result.output
