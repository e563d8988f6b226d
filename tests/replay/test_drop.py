"""The drop as load: it sells exactly what there is, and says so only when that is so."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from benchmarks.books import Counts
from benchmarks.drop import DropReport, drop
from benchmarks.report import Latency
from tests.replay.running import Running

GOOD = DropReport(
    sku="drop-1",
    units=10,
    shoppers=30,
    concurrency=4,
    answers={"held": 10, "insufficient-stock": 20},
    elapsed_s=1.0,
    holds_per_s=30.0,
    latency=Latency(30, 1.0, 2.0),
    api=Counts(0, 0, 10),
    database=Counts(0, 0, 10),
    ledger=Counts(0, 0, 10),
)


def test_more_shoppers_than_units_get_exactly_the_units(running: Running) -> None:
    running.start_worker()
    report = asyncio.run(drop(running.url, running.settings.require_database_url(), None, 20, 200, 16, 30.0))
    assert report.answers == {"held": 20, "insufficient-stock": 180}
    assert report.balances


def test_books_that_balance_are_called_so() -> None:
    assert GOOD.balances
    assert replace(
        GOOD, shoppers=5, answers={"held": 5}, **dict.fromkeys(("api", "database", "ledger"), Counts(5, 0, 5))
    ).balances


@pytest.mark.parametrize(
    "wrong",
    [
        {"answers": {"held": 11, "insufficient-stock": 19}},
        {"api": Counts(0, 1, 9)},
        {"database": Counts(0, 0, 11)},
        {"ledger": Counts(1, 0, 9)},
    ],
)
def test_an_oversell_or_a_lost_unit_is_found(wrong: dict[str, object]) -> None:
    assert not replace(GOOD, **wrong).balances
