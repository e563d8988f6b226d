"""The replay through carts against the whole system: orders come to the file's sums, to the penny and on both sides."""

from __future__ import annotations

import time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.replay.replaying import DIRTY, REAL_ORDERS, begin_replay, finish_replay, replay, written
from tests.replay.running import READY_S, Running

# Invoice 1 has A twice, at 2.55 and 2.10; 2 has more units than a line may; 3 more lines than a cart may; 5 is free.
CARTS_OF_DIRTY = 2 + 2 + 2 + 1
REVENUE_OF_DIRTY = (6 * 255 + 2 * 210 + 255) + 10_001 * 10 + 103 * 100 + 0


def ask(running: Running, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.request(method, f"{running.url}/api/v1{path}", json=body, trust_env=False)
    assert answer.is_success, answer.text
    return dict(answer.json())


def catalogue_with(running: Running, sku: str, currency: str) -> dict[str, Any]:
    """A variant of somebody else's, which costs 1.00."""
    product = ask(running, "POST", "/products", {"name": "Theirs", "base_price": 100, "currency": currency})
    return ask(running, "POST", "/variants", {"product_id": product["id"], "sku": sku, "attributes": {"size": "M"}})


def test_dirty_books_balance_in_money_too_on_a_system_that_has_a_catalogue_rules_and_stock(
    running: Running, tmp_path: Path
) -> None:
    running.start_worker()
    theirs = catalogue_with(running, "C", "GBP")
    cheap = catalogue_with(running, "a", "GBP")
    ask(running, "PUT", "/stock/A", {"on_hand": 7})
    sale = {"name": "10 off all", "kind": "bulk", "min_quantity": 1, "percent": 10, "priority": -5}
    ask(running, "POST", "/pricing-rules", sale)
    file = written(tmp_path / "orders.csv", [*DIRTY, ("11", "PART", "3", "2010-12-01T08:36:00", "0.125", "17850")])
    status, first = replay(file, running, "--carts")
    assert (status, first["mismatches"], first["refusals"]) == (0, [], {})
    assert first["units"] == {"stocked up": 10_140, "sold": 10_120, "returned": 5, "written off": 20}
    assert (first["rows"]["split_baskets"], first["rows"]["rounded_prices"]) == (3, 1)
    sales = first["sales"]
    assert sales["revenue"] == dict.fromkeys(("API", "PostgreSQL", "file"), REVENUE_OF_DIRTY + 3 * 12)
    assert (sales["carts"], sales["orders"], sales["currency"]) == (CARTS_OF_DIRTY + 1,) * 2 + ("GBP",)
    assert sales["made"] == {"rules": 6, "products": 1, "variants": 106, "variants repriced": 1}
    assert [first["latency"][name]["requests"] for name in ("cart opening", "checkout")] == [CARTS_OF_DIRTY + 1] * 2

    stock, repriced = running.get("/api/v1/stock/A"), running.get(f"/api/v1/variants/{cheap['id']}")
    assert stock is not None and repriced is not None
    assert (stock["available"], stock["reserved"], stock["sold"]) == (10, 0, 8)
    assert (repriced["price_adjustment"], repriced["attributes"]) == (156, {"size": "M"})
    orders = running.get("/api/v1/orders?limit=500") or {}
    assert sum(order["total"] for order in orders["items"]) == sales["revenue"]["file"]
    run = first["run"]
    assert {order["customer_id"] for order in orders["items"]} == {f"{run}-17850", f"{run}-17851", None}

    status, second = replay(file, running, "--carts")
    assert (status, second["mismatches"]) == (0, [])
    assert second["sales"]["made"] == {"rules": 0, "products": 0, "variants": 0, "variants repriced": 0}
    assert second["totals"]["before"] == first["totals"]["API"]
    assert (running.get(f"/api/v1/variants/{theirs['id']}") or {})["price_adjustment"] == 0


def test_without_a_flush_every_order_is_named_as_unknown_to_postgresql(running: Running, tmp_path: Path) -> None:
    status, report = replay(written(tmp_path / "orders.csv", DIRTY[:3]), running, "--carts", "--patience", "1")
    assert status == 1
    assert sum("is unknown to PostgreSQL" in text and text.startswith("1: ") for text in report["mismatches"]) == 2
    assert "1: the orders of PostgreSQL come to 0.00 GBP, the file to 22.05 GBP" in report["mismatches"]
    assert report["sales"]["revenue"] == {"API": 2_205, "PostgreSQL": 0, "file": 2_205}


def test_a_sku_that_is_sold_in_another_currency_is_not_touched_and_the_way_out_is_said(
    running: Running, tmp_path: Path
) -> None:
    running.start_worker()
    catalogue_with(running, "A", "EUR")
    file = written(tmp_path / "orders.csv", DIRTY[:3])
    process = begin_replay(file, running, "--carts")
    _, errors = process.communicate(timeout=READY_S)
    assert process.returncode == 1
    assert "A is the variant of a product that is active, in EUR: give a --sku-prefix" in errors
    assert (running.get("/api/v1/pricing-rules") or {})["items"] == []
    status, report = replay(file, running, "--carts", "--sku-prefix", "run-")
    assert (status, report["mismatches"]) == (0, [])


def test_an_api_that_is_killed_among_carts_and_comes_back_makes_no_order_twice(
    running: Running, tmp_path: Path
) -> None:
    running.start_worker()
    rows = [
        (str(i), f"SKU-{sku}", "1", f"2010-12-01T08:00:{i // 4:02}", f"1.0{sku}", str(i % 9 or ""))
        for i in range(120)
        for sku in range(i % 3 + 1)
    ]
    started = begin_replay(written(tmp_path / "orders.csv", rows), running, "--carts", "--speed", "20")
    deadline = time.monotonic() + READY_S
    while running.sold() < 20:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.kill("api")
    running.start_api()
    status, report = finish_replay(started)
    assert (status, report["mismatches"], report["sales"]["orders"]) == (0, [], 120)
    assert report["retries"]["no answer"] > 0


@pytest.mark.skipif(not REAL_ORDERS.exists(), reason=f"the real order lines are not here: {REAL_ORDERS.name}")
def test_the_first_real_baskets_come_to_the_file_s_sum(running: Running, tmp_path: Path) -> None:
    running.start_worker()
    file = tmp_path / "orders.csv"
    with REAL_ORDERS.open(encoding="utf-8") as real:
        file.write_text("".join(islice(real, 300)), encoding="utf-8")
    status, report = replay(file, running, "--carts")
    assert (status, report["mismatches"]) == (0, [])
    rows = [line.rsplit(",", 5) for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    amounts = [int(units) * Decimal(price) for _, units, _, price, _, _ in rows]
    not_sold = sum(amount for row, amount in zip(rows, amounts, strict=True) if row[0].split(",")[1] == "POST")
    bought = sum(amount for amount in amounts if amount > 0) - not_sold
    assert report["sales"]["revenue"] == dict.fromkeys(("API", "PostgreSQL", "file"), bought * 100)
