"""The replay against the whole system: real servers, the API and the flush worker as processes of their own."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.order_lines import Kind, Skip
from tests.replay.replaying import DIRTY, REAL_ORDERS, begin_replay, finish_replay, replay, written
from tests.replay.running import READY_S, Running


def test_dirty_books_balance_afterwards_and_once_more_on_the_same_system(running: Running, tmp_path: Path) -> None:
    running.start_worker()
    file = written(tmp_path / "orders.csv", DIRTY)
    status, first = replay(file, running)
    assert (status, first["mismatches"]) == (0, [])
    assert first["rows"]["treatments"] == {
        Kind.SALE: 106,
        Kind.GUEST_SALE: 1,
        Kind.FREE_SALE: 1,
        Kind.RETURN: 2,
        Kind.WRITE_OFF: 1,
        Skip.NO_PRODUCT: 2,
        Skip.BAD_SKU: 1,
        Skip.POSITIVE_CANCELLATION: 1,
        Skip.BAD_QUANTITY: 1,
        Skip.BAD_DATE: 1,
    }
    assert first["units"] == {"stocked up": 10_137, "sold": 10_117, "returned": 5, "written off": 20}
    assert (first["rows"]["repeated_lines"], first["rows"]["split_baskets"], first["baskets"]) == (1, 2, 4)
    status, second = replay(file, running)
    assert (status, second["mismatches"]) == (0, [])
    assert second["totals"]["before"] == first["totals"]["API"]
    stock = running.get("/api/v1/stock/A")
    assert stock is not None
    assert (stock["available"], stock["reserved"], stock["sold"]) == (6, 0, 16)


def test_without_a_flush_the_books_do_not_balance_and_the_replay_says_so(running: Running, tmp_path: Path) -> None:
    status, report = replay(written(tmp_path / "orders.csv", DIRTY[:3]), running, "--patience", "1")
    assert status == 1
    assert "A: unknown to PostgreSQL" in report["mismatches"]


def test_an_api_that_is_killed_in_the_middle_and_comes_back_spoils_nothing(running: Running, tmp_path: Path) -> None:
    running.start_worker()
    rows = [(str(i), f"SKU-{i % 7}", "1", f"2010-12-01T08:00:{i // 4:02}", "1.00", "") for i in range(120)]
    started = begin_replay(written(tmp_path / "orders.csv", rows), running, "--speed", "20")
    deadline = time.monotonic() + READY_S
    while not running.sold():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.kill("api")
    running.start_api()
    status, report = finish_replay(started)
    assert (status, report["mismatches"], report["units"]["sold"]) == (0, [], 120)
    assert report["retries"]["no answer"] > 0


@pytest.mark.skipif(not REAL_ORDERS.exists(), reason=f"the real order lines are not here: {REAL_ORDERS.name}")
def test_real_order_lines_balance(running: Running, tmp_path: Path) -> None:
    running.start_worker()
    file = tmp_path / "orders.csv"
    with REAL_ORDERS.open(encoding="utf-8") as real:
        file.write_text("".join(islice(real, 300)), encoding="utf-8")
    status, report = replay(file, running)
    assert (status, report["mismatches"]) == (0, [])
    assert report["rows"]["total"] == 299
    assert report["units"] == report["units_of_the_file"]
