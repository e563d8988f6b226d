"""The replay's client: a fault in the middle is asked again with the same key, and a refusal is never hidden."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from benchmarks.baskets import Invoice
from benchmarks.connections import Answer
from benchmarks.storefront import ReplayError, Storefront, UnansweredError
from benchmarks.traffic import Replayer
from tests.replay.scripted import BUSY, LOST, Scripted, answer, using

HELD = answer(201, id="hold_1", status="held")
COMMITTED = answer(200, id="hold_1", status="committed")
RELEASED = answer(200, id="hold_1", status="released")
SOLD_OUT = answer(409, code="insufficient-stock")


def sell(api: Scripted, sold: dict[str, int]) -> Replayer:
    async def work(storefront: Storefront) -> Replayer:
        replayer = Replayer(storefront, "run")
        invoice = Invoice("1", datetime(2010, 12, 1, tzinfo=UTC), "c", sold=sold)
        await replayer.replay([invoice], workers=4, speed=None, told=lambda: None)
        return replayer

    return using(api, work)


def test_a_basket_is_held_then_committed_with_its_invoice() -> None:
    api = Scripted(HELD, COMMITTED)
    traffic = sell(api, {"A": 2}).traffic
    assert [asked.path for asked in api.asked] == ["/holds", "/holds/hold_1/commit"]
    assert api.asked[0].body == b'{"lines":[{"sku":"A","quantity":2}],"customer_id":"c"}'
    assert api.asked[1].body == b'{"reference":"1"}'
    assert (traffic.baskets, traffic.units["sold"]) == (1, 2)


def test_an_overload_and_a_lost_connection_are_asked_again_with_the_same_key() -> None:
    api = Scripted(BUSY, LOST, HELD, LOST, COMMITTED)
    traffic = sell(api, {"A": 2}).traffic
    assert [asked.key for asked in api.asked] == ["run:1:hold:0"] * 3 + ["run:1:commit:0"] * 2
    assert (traffic.units["sold"], traffic.refusals) == (2, {})


def test_a_refused_basket_is_counted_with_its_reason_and_not_committed() -> None:
    traffic = sell(Scripted(SOLD_OUT), {"A": 2}).traffic
    assert traffic.refusals == {"hold: 409 insufficient-stock": 1}
    assert (traffic.refused_baskets, traffic.units["sold"]) == (["1"], 0)


def test_of_a_split_basket_all_parts_are_held_before_any_is_sold() -> None:
    api = Scripted(HELD, SOLD_OUT, RELEASED)
    sell(api, {"A": 10_001})
    assert [asked.method for asked in api.asked] == ["POST", "POST", "DELETE"]


def test_an_api_that_stays_away_ends_the_patience_and_is_told_by_invoice() -> None:
    async def work(storefront: Storefront) -> Replayer:
        replayer = Replayer(storefront, "run")
        await replayer.replay([Invoice("1", datetime(2010, 12, 1, tzinfo=UTC), sold={"A": 1})], 1, None, lambda: None)
        return replayer

    replayer = using(Scripted(*[BUSY] * 10), work, patience_s=0.1)
    assert [text.split(":")[0] for text in replayer.traffic.unanswered] == ["1"]


def test_a_missing_key_is_said_at_once() -> None:
    with pytest.raises(ReplayError, match="--api-key"):
        using(Scripted(answer(401, code="unauthenticated")), lambda storefront: storefront.stock())


def test_creating_what_exists_is_no_fault_and_another_refusal_is() -> None:
    exists = answer(409, code="sku-exists")
    using(Scripted(exists), lambda storefront: storefront.create("A"))
    with pytest.raises(ReplayError, match="validation-failed"):
        using(Scripted(answer(400, code="validation-failed")), lambda found: found.create("A"))


def test_stock_is_read_page_by_page() -> None:
    def page(sku: str, cursor: str | None) -> Answer:
        row = {"sku": sku, "on_hand": 1, "available": 1, "reserved": 0, "sold": 2, "customer_limit": None}
        return answer(200, items=[row], next_cursor=cursor)

    api = Scripted(page("A", "c1"), BUSY, page("B", None))
    assert set(using(api, lambda storefront: storefront.stock())) == {"A", "B"}
    first, second = "/stock?limit=500", "/stock?limit=500&cursor=c1"
    assert [asked.path for asked in api.asked] == [first, second, second]


def test_with_a_speed_an_invoice_waits_for_its_time() -> None:
    async def work(storefront: Storefront) -> float:
        replayer = Replayer(storefront, "run")
        invoices = [
            Invoice("C1", datetime(2010, 12, 1, 8, 0, 0, tzinfo=UTC)),
            Invoice("C2", datetime(2010, 12, 1, 8, 0, 10, tzinfo=UTC)),
        ]
        await replayer.replay(invoices, 2, 100.0, lambda: None)
        return replayer.traffic.elapsed_s

    assert 0.09 < using(Scripted(), work) < 2


def test_the_first_fault_ends_the_stocking_up() -> None:
    async def work(storefront: Storefront) -> None:
        await Replayer(storefront, "run").stock_up({"A": 1, "B": 1}, {"A", "B"}, 2, lambda: None)

    with pytest.raises(UnansweredError):
        using(Scripted(*[BUSY] * 50), work, patience_s=0.1)
