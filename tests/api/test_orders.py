"""Orders over HTTP: paid for once, moved along their lifecycle, and their units accounted for."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from jobs.flush import flush_once
from tests.api.catalogue import made
from tests.api.process import Api, assert_problem
from tests.api.shop import BASE, cart_with, check_out, counts, key, limit_customer, move, pay, thing


def ordered(api: Api, sku: str, quantity: int = 1, customer_id: str | None = None, **fields: Any) -> str:
    return str(made(check_out(api, cart_with(api, sku, quantity, customer_id), **fields))["id"])


def test_an_order_goes_its_way_and_each_step_has_its_time(api: Api) -> None:
    order = ordered(api, thing(api)["sku"])
    found: dict[str, Any] = {}
    for to in ("processing", "shipped", "delivered", "completed"):
        found = made(move(api, order, to, **({"tracking_number": "T-1"} if to == "shipped" else {})), 200)
        assert found["status"] == to
    assert [step["status"] for step in found["timeline"]] == [
        "created", "processing", "shipped", "delivered", "completed",
    ]  # fmt: skip
    times = [step["at"] for step in found["timeline"]]
    assert times == sorted(times)
    assert found["tracking_number"] == "T-1"


ALLOWED = {
    (): {"processing", "canceled"},
    ("processing",): {"shipped", "canceled"},
    ("processing", "shipped"): {"delivered", "returned"},
    ("processing", "shipped", "delivered"): {"completed", "returned"},
    ("processing", "shipped", "delivered", "completed"): set(),
    ("canceled",): set(),
    ("processing", "shipped", "returned"): set(),
}


@pytest.mark.parametrize("way", ALLOWED)
def test_whatever_the_lifecycle_does_not_allow_is_refused(api: Api, way: tuple[str, ...]) -> None:
    variant = thing(api, stock=100)
    for to in ("processing", "shipped", "delivered", "completed", "canceled", "returned"):
        order = ordered(api, variant["sku"])
        for step in way:
            made(move(api, order, step), 200)
        answer = move(api, order, to)
        if to in ALLOWED[way]:
            assert made(answer, 200)["status"] == to
        else:
            assert_problem(answer, 409, "transition-not-allowed")


def test_an_unpaid_order_is_not_processed(api: Api) -> None:
    order = ordered(api, thing(api)["sku"], payment="pending")
    assert_problem(move(api, order, "processing"), 409, "transition-not-allowed")
    pay(api, order, "succeeded")
    made(move(api, order, "processing"), 200)


@pytest.mark.parametrize("way", [("canceled",), ("processing", "canceled"), ("processing", "shipped", "returned")])
def test_canceling_and_returning_put_the_units_back_once(api: Api, way: tuple[str, ...]) -> None:
    variant, customer = limit_customer(api, stock=5, customer_limit=2), f"customer-{uuid4()}"
    order = ordered(api, variant["sku"], 2, customer)
    assert counts(api, variant["sku"]) == (3, 0, 2)
    answers = [made(move(api, order, to), 200) for to in way]
    assert answers[-1]["refund_due"] == f"{way[-1]} after it was paid"
    assert counts(api, variant["sku"]) == (5, 0, 0)
    assert_problem(move(api, order, way[-1]), 409, "transition-not-allowed")
    assert counts(api, variant["sku"]) == (5, 0, 0)
    ordered(api, variant["sku"], 2, customer)


def test_canceling_an_unpaid_order_gives_back_and_a_success_after_that_is_for_refund(api: Api) -> None:
    variant = thing(api, stock=5)
    order = ordered(api, variant["sku"], 2, payment="pending")
    assert made(move(api, order, "canceled"), 200)["payment"]["status"] == "canceled"
    assert counts(api, variant["sku"]) == (5, 0, 0)
    assert pay(api, order, "succeeded")["status"] == "refund_due"
    assert counts(api, variant["sku"]) == (5, 0, 0)
    assert made(move(api, order, "canceled"), 200)["status"] == "canceled"


def test_news_of_a_payment_may_come_twice_and_out_of_order(api: Api) -> None:
    variant = thing(api)
    order = ordered(api, variant["sku"], 2, payment="pending")
    assert pay(api, order, "processing")["payment"]["status"] == "processing"
    assert pay(api, order, "requires_action")["payment"]["status"] == "requires_action"
    paid = pay(api, order, "succeeded")
    for late in ("processing", "requires_action", "succeeded", "failed", "canceled"):
        assert pay(api, order, late) == paid
    assert counts(api, variant["sku"]) == (8, 0, 2)


def test_a_failure_that_a_success_follows_is_a_success(api: Api) -> None:
    variant = thing(api)
    order = ordered(api, variant["sku"], 2, payment="pending")
    pay(api, order, "failed")
    assert counts(api, variant["sku"]) == (10, 0, 0)
    assert pay(api, order, "succeeded")["status"] == "created"
    assert counts(api, variant["sku"]) == (8, 0, 2)


def test_a_retried_transition_with_its_key_answers_the_first(api: Api) -> None:
    order, headers = ordered(api, thing(api)["sku"]), key()
    path = f"{BASE}/orders/{order}/transitions"
    answers = [api.client.post(path, json={"to": "processing"}, headers=headers) for _ in range(2)]
    made(move(api, order, "shipped"), 200)
    answers.append(api.client.post(path, json={"to": "processing"}, headers=headers))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert_problem(api.client.post(path, json={"to": "canceled"}, headers=headers), 422, "idempotency-key-reused")


def test_unknown_orders_and_malformed_requests_are_refused(api: Api) -> None:
    order = ordered(api, thing(api)["sku"])
    for path in (f"{BASE}/orders/ord_none", f"{BASE}/orders/nonsense"):
        assert_problem(api.client.get(path), 404, "unknown-order")
        assert_problem(api.client.post(f"{path}/payment", json={"status": "failed"}), 404, "unknown-order")
        assert_problem(api.client.post(f"{path}/transitions", json={"to": "shipped"}), 404, "unknown-order")
    for body in ({}, {"status": "pending"}, {"status": "paid"}, {"status": "failed", "amount": 1}):
        assert_problem(api.client.post(f"{BASE}/orders/{order}/payment", json=body), 400, "validation-failed")
    for body in ({}, {"to": "created"}, {"to": "refund_due"}, {"to": "shipped", "tracking_number": ""}):
        assert_problem(api.client.post(f"{BASE}/orders/{order}/transitions", json=body), 400, "validation-failed")
    for query in ({"status": "lost"}, {"cursor": "!"}, {"limit": 0}, {"customer_id": "a\x00"}):
        assert_problem(api.client.get(f"{BASE}/orders", params=query), 400, "validation-failed")


def test_what_was_sold_and_came_back_is_retired_not_deleted(api: Api) -> None:
    variant = thing(api)
    order = ordered(api, variant["sku"])
    made(move(api, order, "canceled"), 200)
    flush_once(api.settings)
    assert made(api.client.delete(f"{BASE}/variants/{variant['id']}"), 200)["retired"] is True
    assert made(api.client.delete(f"{BASE}/products/{variant['product_id']}"), 200)["status"] == "discontinued"
