"""The replay through carts: what is asked of the API, in which order and under which keys; what a refusal leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from benchmarks.baskets import Invoice
from benchmarks.carts import Cart, CartLine
from benchmarks.connections import Answer
from benchmarks.shopping import Shopper
from benchmarks.storefront import ReplayError, Storefront
from tests.replay.scripted import BUSY, LOST, Scripted, answer, using

START = datetime(2010, 12, 1, tzinfo=UTC)
ONE: list[Cart] = [(CartLine("A", 2, 255), CartLine("B", 1, 10))]
CODES = {255: "code-255", 10: "code-10", 210: "code-210"}
OPENED = answer(201, id="cart_1", items=[])
ADDED = answer(200, id="cart_1", items=[{}])
REMOVED = answer(200, id="cart_1", items=[])
SOLD_OUT = answer(409, code="insufficient-stock")
EXPIRED = answer(410, code="hold-expired")


def placed(**changes: Any) -> Answer:
    body: dict[str, Any] = {
        "id": "ord_1",
        "cart_id": "cart_1",
        "customer_id": None,
        "currency": "GBP",
        "subtotal": 520,
        "discount": 0,
        "total": 520,
        "items": [],
        "status": "created",
    }
    return answer(201, **(body | changes))


def shop(api: Scripted, carts: list[Cart], customer: str | None = None, invoices: int = 1) -> Shopper:
    async def work(storefront: Storefront) -> Shopper:
        numbers = [str(i + 1) for i in range(invoices)]
        shopper = Shopper(storefront, "run", dict.fromkeys(numbers, carts), CODES)
        sold = {line.sku: line.units for cart in carts for line in cart}
        await shopper.replay([Invoice(number, START, customer, sold=sold) for number in numbers], 4, None, lambda: None)
        return shopper

    return using(api, work)


def test_a_basket_is_put_into_a_cart_line_by_line_at_its_prices_and_checked_out_paid() -> None:
    api = Scripted(OPENED, ADDED, ADDED, placed())
    shopper = shop(api, ONE)
    assert [asked.path for asked in api.asked] == [
        "/carts",
        "/carts/cart_1/items",
        "/carts/cart_1/items",
        "/carts/cart_1/checkout",
    ]
    assert [msgspec.json.decode(asked.body or b"") for asked in api.asked] == [
        {"customer_id": None},
        {"sku": "A", "quantity": 2, "promo_code": "code-255"},
        {"sku": "B", "quantity": 1, "promo_code": "code-10"},
        {"payment": "captured"},
    ]
    assert [(each.invoice, each.order.id, each.order.total) for each in shopper.traffic.placed] == [("1", "ord_1", 520)]
    assert (shopper.traffic.carts, shopper.traffic.units["sold"]) == ({"cart_1": "1"}, 3)


def test_every_change_is_asked_again_with_its_own_key_when_the_answer_is_lost() -> None:
    api = Scripted(LOST, OPENED, BUSY, ADDED, LOST, ADDED, LOST, placed())
    shopper = shop(api, ONE)
    keys = ["run:1:0:cart", "run:1:0:item:0", "run:1:0:item:1", "run:1:0:checkout"]
    assert [asked.key for asked in api.asked] == [key for key in keys for _ in range(2)]
    assert (shopper.traffic.units["sold"], shopper.traffic.refusals) == (3, {})


def test_a_customer_is_one_of_this_run_whose_invoices_never_overlap() -> None:
    api = Scripted(*[OPENED, ADDED, ADDED, placed(customer_id="run-c")] * 3)
    shop(api, ONE, "c", invoices=3)
    keys = [str(asked.key) for asked in api.asked]
    assert [key.split(":")[1] for key in keys] == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    assert api.asked[0].body == b'{"customer_id":"run-c"}'


def test_a_basket_in_two_carts_is_two_orders_of_one_invoice() -> None:
    carts: list[Cart] = [(CartLine("A", 2, 255),), (CartLine("A", 1, 210),)]
    second = (answer(201, id="cart_2", items=[]), ADDED, placed(id="ord_2", cart_id="cart_2"))
    shopper = shop(Scripted(OPENED, ADDED, placed(), *second), carts)
    assert [(each.invoice, each.order.id) for each in shopper.traffic.placed] == [("1", "ord_1"), ("1", "ord_2")]
    assert shopper.traffic.carts == {"cart_1": "1", "cart_2": "1"}


@pytest.mark.parametrize(
    ("answers", "reason", "given_back"),
    [
        ((BUSY, SOLD_OUT), "cart opening: 409 insufficient-stock", []),
        ((OPENED, ADDED, SOLD_OUT, REMOVED), "addition: 409 insufficient-stock", ["A"]),
        ((OPENED, ADDED, ADDED, EXPIRED, REMOVED, REMOVED), "checkout: 410 hold-expired", ["A", "B"]),
        ((answer(200, id="cart_1", items=[{}]),), "cart opening: not empty", []),
    ],
)
def test_a_refused_basket_is_counted_with_its_reason_and_leaves_an_empty_cart(
    answers: tuple[Answer, ...], reason: str, given_back: list[str]
) -> None:
    api = Scripted(*answers)
    traffic = shop(api, ONE).traffic
    assert (traffic.refusals, traffic.refused_baskets, traffic.placed) == ({reason: 1}, ["1"], [])
    removed = [asked.path.rpartition("/")[2] for asked in api.asked if asked.method == "DELETE"]
    assert (removed, traffic.units["sold"]) == (given_back, 0)


def test_a_checkout_that_answers_no_order_is_a_fault_that_is_said() -> None:
    with pytest.raises(ReplayError, match="no order"):
        shop(Scripted(OPENED, ADDED, ADDED, answer(201, id="ord_1")), ONE)
