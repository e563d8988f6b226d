"""Checkout over HTTP: a cart becomes an order, all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import msgspec
import pytest

from tests.api.catalogue import made
from tests.api.process import Api, assert_problem, running_api
from tests.api.shop import (
    BASE,
    add,
    cart_with,
    check_out,
    counts,
    key,
    limit_customer,
    make_coupon,
    open_cart,
    pay,
    show,
    thing,
    use_coupon,
)
from tests.api.test_carts import reprice


@pytest.fixture(scope="module")
def hasty(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A second process, whose carts and payments have a second."""
    settings = msgspec.structs.replace(api.settings, cart_hold_ttl_s=1, payment_window_s=1)
    with running_api(settings, tmp_path_factory.mktemp("hasty") / "api.log") as running:
        yield running


def test_a_checkout_sells_the_cart_and_copies_its_prices(api: Api) -> None:
    one, other = thing(api, price=1_000), thing(api, price=333)
    customer = f"customer-{uuid4()}"
    cart = cart_with(api, one["sku"], 2, customer)
    made(add(api, cart, other["sku"], 3), 200)
    shown = show(api, cart)
    order = made(check_out(api, cart))
    assert (order["status"], order["payment"]["status"], order["cart_id"]) == ("created", "succeeded", cart)
    assert (order["customer_id"], order["total"], order["currency"]) == (customer, 2_999, "EUR")
    prices = ("sku", "quantity", "unit_price", "discount", "final_price", "total_price", "applied_rules")
    assert [[i[p] for p in prices] for i in order["items"]] == [[i[p] for p in prices] for i in shown["items"]]
    assert counts(api, one["sku"]) == (8, 0, 2)
    assert counts(api, other["sku"]) == (7, 0, 3)
    reprice(api, one["product_id"], 5_000)
    assert made(api.client.get(f"{BASE}/orders/{order['id']}"), 200) == order
    assert [step["status"] for step in order["timeline"]] == ["created"]
    assert open_cart(api, customer) != cart


def test_a_replayed_checkout_answers_the_first_order_and_sells_once(api: Api) -> None:
    variant = thing(api)
    cart, headers = cart_with(api, variant["sku"]), key()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: check_out(api, cart, headers), range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum(answer.headers.get("Idempotent-Replayed") == "true" for answer in answers) == 9
    order = answers[0].json()
    made(api.client.post(f"{BASE}/orders/{order['id']}/transitions", json={"to": "processing"}), 200)
    named = api.client.post(f"{BASE}/checkout", json={"cart_id": cart}, headers=headers)
    assert named.json() == order
    assert counts(api, variant["sku"]) == (9, 0, 1)
    assert_problem(check_out(api, cart, headers, payment="pending"), 422, "idempotency-key-reused")
    assert assert_problem(check_out(api, cart), 409, "cart-ordered")["order_id"] == order["id"]


def test_a_checkout_needs_a_key_and_a_cart_with_something_in_it(api: Api) -> None:
    cart = open_cart(api)
    assert_problem(api.client.post(f"{BASE}/carts/{cart}/checkout"), 400, "idempotency-key-required")
    assert_problem(api.client.post(f"{BASE}/checkout", json={"cart_id": cart}), 400, "idempotency-key-required")
    assert_problem(check_out(api, cart), 409, "cart-empty")
    assert_problem(check_out(api, "cart_none"), 404, "unknown-cart")
    assert_problem(check_out(api, cart, cart_id="cart_other"), 400, "validation-failed")
    assert_problem(check_out(api, cart, payment="gift"), 400, "validation-failed")


def test_an_expired_line_stops_the_whole_checkout_and_is_named(hasty: Api) -> None:
    late, early = thing(hasty), thing(hasty)
    cart = cart_with(hasty, late["sku"], 2)
    time.sleep(1.05)
    made(add(hasty, cart, early["sku"]), 200)
    headers = key()
    problem = assert_problem(check_out(hasty, cart, headers), 410, "hold-expired")
    assert problem["lines"] == [{"sku": late["sku"]}]
    assert counts(hasty, early["sku"]) == (9, 1, 0)
    for sku in (late["sku"], early["sku"]):
        made(hasty.client.put(f"{BASE}/carts/{cart}/items/{sku}", json={"quantity": 1}), 200)
    made(check_out(hasty, cart, headers))
    assert counts(hasty, late["sku"]) == (9, 0, 1)


def test_what_the_shop_stopped_selling_is_not_sold(api: Api) -> None:
    variant = thing(api)
    cart = cart_with(api, variant["sku"])
    body = {"name": "Mug", "base_price": 1_000, "currency": "EUR", "status": "discontinued"}
    made(api.client.put(f"{BASE}/products/{variant['product_id']}", json=body), 200)
    problem = assert_problem(check_out(api, cart), 409, "product-discontinued")
    assert problem["lines"] == [{"sku": variant["sku"]}]
    assert counts(api, variant["sku"]) == (9, 1, 0)


def test_a_guests_cart_ordered_for_a_customer_counts_against_that_customers_limit(api: Api) -> None:
    variant = limit_customer(api, stock=10, customer_limit=2)
    customer = f"customer-{uuid4()}"
    api.hold(variant["sku"], 1, customer_id=customer)
    cart = cart_with(api, variant["sku"], 2)
    assert_problem(check_out(api, cart, customer_id=customer), 409, "customer-limit-exceeded")
    made(api.client.put(f"{BASE}/carts/{cart}/items/{variant['sku']}", json={"quantity": 1}), 200)
    assert made(check_out(api, cart, customer_id=customer))["customer_id"] == customer
    assert counts(api, variant["sku"]) == (8, 1, 1)
    body = {"lines": [{"sku": variant["sku"], "quantity": 1}], "customer_id": customer}
    assert_problem(api.client.post(f"{BASE}/holds", json=body), 409, "customer-limit-exceeded")


def test_a_hundred_checkouts_with_a_coupon_for_ten_use_it_ten_times(api: Api) -> None:
    variant = thing(api, price=1_000, stock=200)
    code = make_coupon(api, usage_limit=10)
    carts = [cart_with(api, variant["sku"]) for _ in range(100)]
    for cart in carts:
        made(use_coupon(api, cart, code), 200)
    with ThreadPoolExecutor(25) as pool, httpx.Client(base_url=api.url, timeout=30) as client:
        answers = list(
            pool.map(lambda cart: client.post(f"{BASE}/carts/{cart}/checkout", json={}, headers=key()), carts)
        )
    ordered = [answer.json() for answer in answers if answer.status_code == 201]
    assert [order["total"] for order in ordered] == [900] * 10
    for answer in answers:
        if answer.status_code != 201:
            assert_problem(answer, 409, "coupon-limit-reached")
    assert counts(api, variant["sku"]) == (100, 90, 10)
    assert api.client.get(f"{BASE}/coupons/{code}").json()["times_used"] == 10
    made(api.client.post(f"{BASE}/orders/{ordered[0]['id']}/transitions", json={"to": "canceled"}), 200)
    assert api.client.get(f"{BASE}/coupons/{code}").json()["times_used"] == 9
    left = next(cart for cart, answer in zip(carts, answers, strict=True) if answer.status_code == 409)
    made(check_out(api, left))


def test_a_coupon_holds_its_limit_for_each_customer(api: Api) -> None:
    variant, code, customer = thing(api), make_coupon(api, per_customer_limit=1), f"customer-{uuid4()}"

    def order(of: str) -> httpx.Response:
        cart = cart_with(api, variant["sku"], 1, of)
        made(use_coupon(api, cart, code), 200)
        return check_out(api, cart)

    made(order(customer))
    assert_problem(order(customer), 409, "coupon-limit-reached")
    made(order(f"customer-{uuid4()}"))


def test_a_pending_payment_holds_firmly_and_sells_when_it_succeeds(api: Api) -> None:
    variant, customer = thing(api), f"customer-{uuid4()}"
    cart = cart_with(api, variant["sku"], 3, customer)
    order = made(check_out(api, cart, payment="pending"))
    assert (order["status"], order["payment"]["status"]) == ("created", "pending")
    assert counts(api, variant["sku"]) == (7, 3, 0)
    assert assert_problem(add(api, cart, variant["sku"]), 409, "payment-pending")["order_id"] == order["id"]
    assert open_cart(api, customer) == cart
    paid = pay(api, order["id"], "succeeded", transaction_id="pi_1")
    assert (paid["status"], paid["payment"]["status"]) == ("created", "succeeded")
    assert paid["payment"]["transaction_id"] == "pi_1"
    assert counts(api, variant["sku"]) == (7, 0, 3)
    assert open_cart(api, customer) != cart


@pytest.mark.parametrize("ending", ["failed", "canceled"])
def test_a_payment_that_fails_gives_everything_back_and_the_cart_can_be_ordered_again(api: Api, ending: str) -> None:
    variant, code, customer = thing(api), make_coupon(api, usage_limit=1), f"customer-{uuid4()}"
    cart = cart_with(api, variant["sku"], 3, customer)
    made(use_coupon(api, cart, code), 200)
    before = show(api, cart)
    order = made(check_out(api, cart, payment="pending"))
    assert pay(api, order["id"], ending)["status"] == "canceled"
    assert counts(api, variant["sku"]) == (10, 0, 0)
    after = show(api, cart)
    assert open_cart(api, customer) == cart
    assert (after["status"], after["coupon"], after["total"]) == ("open", code, before["total"])
    assert [i["quantity"] for i in after["items"]] == [3]
    assert api.client.get(f"{BASE}/coupons/{code}").json()["times_used"] == 0
    again = made(check_out(api, cart))
    assert (again["id"] != order["id"], again["total"]) == (True, order["total"])
    assert counts(api, variant["sku"]) == (7, 0, 3)


def test_a_payment_window_that_ends_gives_everything_back_even_when_nobody_sweeps(hasty: Api) -> None:
    variant, customer = thing(hasty, stock=2), f"customer-{uuid4()}"
    cart = cart_with(hasty, variant["sku"], 2, customer)
    order = made(check_out(hasty, cart, payment="pending"))
    assert counts(hasty, variant["sku"]) == (0, 2, 0)
    time.sleep(1.1)
    assert hasty.hold(variant["sku"], 1)["status"] == "held"
    found = made(hasty.client.get(f"{BASE}/orders/{order['id']}"), 200)
    assert (found["status"], found["payment"]["status"]) == ("canceled", "canceled")
    assert (show(hasty, cart)["status"], open_cart(hasty, customer)) == ("open", cart)


def test_a_late_success_claims_the_units_again_or_is_marked_for_refund(hasty: Api) -> None:
    plenty, scarce = thing(hasty, stock=5), thing(hasty, stock=1)
    carts = [cart_with(hasty, variant["sku"]) for variant in (plenty, scarce)]
    orders = [made(check_out(hasty, cart, payment="pending"))["id"] for cart in carts]
    time.sleep(1.1)
    hasty.hold(scarce["sku"])
    revived, refund = (pay(hasty, order, "succeeded") for order in orders)
    assert (revived["status"], revived["payment"]["status"], revived["refund_due"]) == ("created", "succeeded", None)
    assert counts(hasty, plenty["sku"]) == (4, 0, 1)
    assert (refund["status"], refund["payment"]["status"]) == ("refund_due", "succeeded")
    assert refund["refund_due"]
    assert counts(hasty, scarce["sku"]) == (0, 1, 0)
    for order, before in zip(orders, (revived, refund), strict=True):
        assert pay(hasty, order, "succeeded") == pay(hasty, order, "failed") == before
