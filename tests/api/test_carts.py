"""Carts over HTTP: a line is a hold, with the price that its shopper was shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from tests.api.catalogue import made, make_product, make_variant, name
from tests.api.process import Api, assert_problem, running_api
from tests.api.shop import BASE, add, cart_with, counts, key, limit_customer, open_cart, show, thing, use_coupon


@pytest.fixture(scope="module")
def hasty(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A second process, whose carts hold for a second."""
    settings = msgspec.structs.replace(api.settings, cart_hold_ttl_s=1)
    with running_api(settings, tmp_path_factory.mktemp("hasty") / "api.log") as running:
        yield running


def reprice(api: Api, product_id: str, price: int) -> None:
    product = api.client.get(f"{BASE}/products/{product_id}").json()
    body = {"name": product["name"], "base_price": price, "currency": product["currency"]}
    made(api.client.put(f"{BASE}/products/{product_id}", json=body), 200)


def test_a_customers_cart_is_made_once_and_found_again(api: Api) -> None:
    customer = f"customer-{uuid4()}"
    first = api.client.post(f"{BASE}/carts", json={"customer_id": customer})
    again = api.client.post(f"{BASE}/carts", json={"customer_id": customer})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["items"] == []


def test_a_retry_of_opening_a_cart_answers_the_first_whatever_became_of_it(api: Api) -> None:
    body, headers = {"customer_id": f"customer-{uuid4()}"}, key()
    made_first = api.client.post(f"{BASE}/carts", json=body, headers=headers)
    found_headers = key()
    found = api.client.post(f"{BASE}/carts", json=body, headers=found_headers)
    made(add(api, made_first.json()["id"], thing(api)["sku"]), 200)
    for first, again_with in ((made_first, headers), (found, found_headers)):
        again = api.client.post(f"{BASE}/carts", json=body, headers=again_with)
        assert (again.status_code, again.text) == (first.status_code, first.text)
    assert (made_first.status_code, found.status_code) == (201, 200)


def test_fifty_devices_of_one_customer_get_one_cart(api: Api, hasty: Api) -> None:
    customer = f"customer-{uuid4()}"

    def ask(which: int) -> httpx.Response:
        process = (api, hasty)[which % 2]
        return httpx.post(f"{process.url}{BASE}/carts", json={"customer_id": customer}, timeout=20)

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(ask, range(50)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]


def test_each_guest_gets_a_cart_of_their_own_and_a_retry_the_same(api: Api) -> None:
    headers = key()
    answers = [api.client.post(f"{BASE}/carts", headers=headers) for _ in range(2)]
    other = api.client.post(f"{BASE}/carts", json={})
    assert answers[0].json() == answers[1].json() != other.json()
    assert [answer.status_code for answer in (*answers, other)] == [201, 201, 201]
    assert answers[1].headers["Idempotent-Replayed"] == "true"


def test_adding_reserves_and_shows_the_price(api: Api) -> None:
    variant = thing(api, price=1_250, stock=5)
    body = made(add(api, open_cart(api), variant["sku"], 2), 200)
    (item,) = body["items"]
    assert (item["unit_price"], item["discount"], item["final_price"], item["total_price"]) == (1_250, 0, 1_250, 2_500)
    assert (item["status"], item["price_changed"], item["variant_id"]) == ("held", False, variant["id"])
    assert (body["subtotal"], body["discount"], body["total"], body["currency"]) == (2_500, 0, 2_500, "EUR")
    assert counts(api, variant["sku"]) == (3, 2, 0)


def test_the_worked_example_of_bulk_and_tier(api: Api) -> None:
    product = make_product(api, base_price=50_000)
    variant = make_variant(api, product["id"], price_adjustment=5_000, stock_quantity=100)
    for rule in (
        {"name": "Bulk", "kind": "bulk", "min_quantity": 5, "percent": 10},
        {"name": "Gold", "kind": "tier", "user_tier": "GOLD", "percent": 5},
    ):
        made(api.client.post(f"{BASE}/pricing-rules", json={**rule, "product_id": product["id"]}))
    body = made(add(api, open_cart(api), variant["sku"], 10, user_tier="GOLD"), 200)
    (item,) = body["items"]
    assert (item["unit_price"], item["discount"], item["final_price"]) == (55_000, 8_250, 46_750)
    assert sorted(rule["discount"] for rule in item["applied_rules"]) == [2_750, 5_500]
    assert body["total"] == item["total_price"] == 467_500


def test_adding_what_is_there_merges_and_an_own_hold_never_stands_in_the_way(api: Api) -> None:
    variant = thing(api, stock=5)
    cart = cart_with(api, variant["sku"], 3)
    body = made(add(api, cart, variant["sku"], 2), 200)
    assert [item["quantity"] for item in body["items"]] == [5]
    assert counts(api, variant["sku"]) == (0, 5, 0)
    problem = assert_problem(add(api, cart, variant["sku"], 1), 409, "insufficient-stock")
    assert problem["lines"] == [{"sku": variant["sku"], "requested": 6, "available": 5}]
    assert counts(api, variant["sku"]) == (0, 5, 0)


def test_a_retried_add_adds_once(api: Api) -> None:
    variant, cart, headers = thing(api), open_cart(api), key()
    path, body = f"{BASE}/carts/{cart}/items", {"sku": variant["sku"], "quantity": 2}
    answers = [api.client.post(path, json=body, headers=headers) for _ in range(3)]
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[2].headers["Idempotent-Replayed"] == "true"
    assert counts(api, variant["sku"]) == (8, 2, 0)
    other = api.client.post(path, json={**body, "quantity": 3}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")


def test_lowering_and_removing_give_back_at_once(api: Api) -> None:
    variant = thing(api)
    cart = cart_with(api, variant["sku"], 6)
    path = f"{BASE}/carts/{cart}/items/{variant['sku']}"
    assert made(api.client.put(path, json={"quantity": 2}), 200)["items"][0]["quantity"] == 2
    assert counts(api, variant["sku"]) == (8, 2, 0)
    assert made(api.client.put(path, json={"quantity": 0}), 200)["items"] == []
    assert counts(api, variant["sku"]) == (10, 0, 0)
    assert_problem(api.client.delete(path), 404, "unknown-cart-item")
    made(add(api, cart, variant["sku"], 4), 200)
    assert made(api.client.delete(path), 200)["total"] == 0
    assert counts(api, variant["sku"]) == (10, 0, 0)


def test_a_customer_limit_counts_over_cart_and_holds(api: Api) -> None:
    variant = limit_customer(api, stock=10, customer_limit=3)
    customer = f"customer-{uuid4()}"
    api.hold(variant["sku"], 1, customer_id=customer)
    cart = cart_with(api, variant["sku"], 2, customer)
    problem = assert_problem(add(api, cart, variant["sku"], 1), 409, "customer-limit-exceeded")
    assert problem["lines"][0]["customer_limit"] == 3


def test_a_cart_takes_a_hundred_lines_and_no_more(api: Api) -> None:
    product = make_product(api)
    skus = [make_variant(api, product["id"])["sku"] for _ in range(101)]
    cart = open_cart(api)
    for sku in skus[:100]:
        made(add(api, cart, sku), 200)
    assert_problem(add(api, cart, skus[100]), 409, "cart-full")
    assert len(made(add(api, cart, skus[0]), 200)["items"]) == 100


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sku": "A"},
        {"sku": "A", "quantity": 0},
        {"sku": "A", "quantity": 1.5},
        {"sku": "A", "quantity": 10_001},
        {"sku": "A", "variant_id": "var_1", "quantity": 1},
        {"quantity": 1},
        {"sku": "A", "quantity": 1, "price": 1},
    ],
)
def test_a_malformed_line_is_refused(api: Api, body: dict[str, Any]) -> None:
    response = api.client.post(f"{BASE}/carts/{open_cart(api)}/items", json=body)
    assert_problem(response, 400, "validation-failed")


def test_what_does_not_exist_cannot_be_added(api: Api) -> None:
    cart = open_cart(api)
    assert_problem(add(api, cart, "NO-SUCH-SKU"), 404, "unknown-sku")
    response = api.client.post(f"{BASE}/carts/{cart}/items", json={"variant_id": "var_none", "quantity": 1})
    assert_problem(response, 404, "unknown-variant")
    assert_problem(add(api, "cart_none", thing(api)["sku"]), 404, "unknown-cart")
    assert_problem(add(api, "nonsense", thing(api)["sku"]), 404, "unknown-cart")


def test_a_discontinued_product_and_another_currency_are_refused(api: Api) -> None:
    gone, foreign, here = thing(api, status="discontinued"), thing(api, currency="JPY"), thing(api)
    cart = cart_with(api, here["sku"])
    assert_problem(add(api, cart, gone["sku"]), 409, "product-discontinued")
    assert_problem(add(api, cart, foreign["sku"]), 409, "currency-mismatch")
    assert counts(api, gone["sku"])[1] == counts(api, foreign["sku"])[1] == 0


def test_a_price_that_changes_while_the_hold_lives_changes_nothing_in_the_cart(api: Api) -> None:
    variant = thing(api, price=1_000)
    cart = cart_with(api, variant["sku"], 2)
    reprice(api, variant["product_id"], 1_500)
    (item,) = show(api, cart)["items"]
    assert (item["final_price"], item["price_changed"]) == (1_000, False)


def test_an_expired_line_stays_takes_todays_price_and_is_reserved_again_when_touched(hasty: Api) -> None:
    variant = thing(hasty, price=1_000, stock=3)
    cart = cart_with(hasty, variant["sku"], 3)
    reprice(hasty, variant["product_id"], 1_500)
    time.sleep(1.05)
    (item,) = show(hasty, cart)["items"]
    assert (item["status"], item["final_price"], item["price_changed"]) == ("expired", 1_500, True)
    assert counts(hasty, variant["sku"]) == (3, 0, 0)
    path = f"{BASE}/carts/{cart}/items/{variant['sku']}"
    (item,) = made(hasty.client.put(path, json={"quantity": 2}), 200)["items"]
    assert (item["status"], item["quantity"], item["final_price"], item["price_changed"]) == ("held", 2, 1_500, True)
    assert counts(hasty, variant["sku"]) == (1, 2, 0)


def test_touching_an_expired_line_whose_units_went_to_others_is_refused_and_it_stays(hasty: Api) -> None:
    variant = thing(hasty, stock=1)
    cart = cart_with(hasty, variant["sku"])
    time.sleep(1.05)
    hasty.hold(variant["sku"])
    path = f"{BASE}/carts/{cart}/items/{variant['sku']}"
    assert_problem(hasty.client.put(path, json={"quantity": 1}), 409, "insufficient-stock")
    assert show(hasty, cart)["items"][0]["status"] == "expired"


def test_two_carts_race_for_the_last_unit_and_one_gets_it(api: Api) -> None:
    variant = thing(api, stock=1)
    carts = [open_cart(api) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda cart: add(api, cart, variant["sku"]), carts))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert counts(api, variant["sku"]) == (0, 1, 0)


def test_many_adds_to_one_cart_at_once_all_count(api: Api, hasty: Api) -> None:
    variant = thing(api, stock=100)
    while hasty.client.get(f"{BASE}/variants/{variant['id']}").status_code != 200:
        time.sleep(0.05)
    cart = open_cart(api)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda i: add((api, hasty)[i % 2], cart, variant["sku"]), range(30)))
    assert {answer.status_code for answer in answers} == {200}
    assert show(api, cart)["items"][0]["quantity"] == 30
    assert counts(api, variant["sku"]) == (70, 30, 0)


def test_another_customers_cart_is_forbidden_to_every_call_that_names_somebody_else(api: Api) -> None:
    variant = thing(api)
    cart = cart_with(api, variant["sku"], 1, f"customer-{uuid4()}")
    path, other = f"{BASE}/carts/{cart}", {"customer_id": "somebody-else"}
    line = f"{path}/items/{variant['sku']}"
    calls = [
        api.client.get(path, params=other),
        api.client.post(f"{path}/items", json={"sku": variant["sku"], "quantity": 1, **other}),
        api.client.put(line, json={"quantity": 2, **other}),
        api.client.delete(line, params=other),
        api.client.post(f"{path}/coupon", json={"code": "ANY", **other}),
        api.client.delete(f"{path}/coupon", params=other),
        api.client.post(f"{path}/merge", json={"from_cart_id": open_cart(api), **other}),
        api.client.post(f"{path}/checkout", json=other, headers=key()),
        api.client.post(f"{BASE}/checkout", json={"cart_id": cart, **other}, headers=key()),
    ]
    for call in calls:
        assert_problem(call, 403, "forbidden")
    assert counts(api, variant["sku"]) == (9, 1, 0)


def test_a_key_that_answered_a_customer_answers_nobody_else(api: Api) -> None:
    owner, other = f"customer-{uuid4()}", "somebody-else"
    variant = thing(api)
    made(api.client.post(f"{BASE}/coupons", json={"code": (code := name("CODE")), "kind": "percentage", "value": 1}))
    cart = open_cart(api, owner)
    path = f"{BASE}/carts/{cart}"
    calls: list[tuple[str, dict[str, Any]]] = [
        (f"{path}/items", {"sku": variant["sku"], "quantity": 1}),
        (f"{path}/coupon", {"code": code}),
        (f"{path}/merge", {"from_cart_id": open_cart(api)}),
        (f"{path}/checkout", {}),
    ]
    for call, body in calls:
        headers = key()
        assert api.client.post(call, json={**body, "customer_id": owner}, headers=headers).status_code < 300
        again = api.client.post(call, json={**body, "customer_id": other}, headers=headers)
        assert_problem(again, 422, "idempotency-key-reused")


def test_a_merge_sums_what_fits_and_tells_what_does_not(api: Api) -> None:
    scarce, plenty, limited = thing(api, stock=4), thing(api, stock=50), limit_customer(api, 10, 2)
    customer, guest = open_cart(api, f"customer-{uuid4()}"), open_cart(api)
    made(add(api, customer, scarce["sku"], 2), 200)
    made(add(api, customer, limited["sku"], 1), 200)
    made(add(api, guest, scarce["sku"], 1), 200)
    made(add(api, guest, plenty["sku"], 7), 200)
    made(add(api, guest, limited["sku"], 2), 200)
    path = f"{BASE}/carts/{customer}/merge"
    body = made(api.client.post(path, json={"from_cart_id": guest}), 200)
    quantities = {item["sku"]: item["quantity"] for item in body["items"]}
    assert quantities == {scarce["sku"]: 3, plenty["sku"]: 7, limited["sku"]: 2}
    told = [{"sku": limited["sku"], "requested": 2, "kept": 1, "reason": "customer-limit-exceeded"}]
    assert body["not_merged"] == told
    assert counts(api, scarce["sku"]) == (1, 3, 0)
    assert counts(api, limited["sku"]) == (8, 2, 0)
    assert_problem(add(api, guest, plenty["sku"]), 409, "cart-merged")
    assert_problem(api.client.post(path, json={"from_cart_id": guest}), 409, "cart-merged")
    assert_problem(api.client.post(path, json={"from_cart_id": customer}), 400, "validation-failed")


def test_a_coupon_shows_what_it_takes_off_and_can_be_taken_off_again(api: Api) -> None:
    variant = thing(api, price=1_999)
    code = f"C{uuid4().hex[:8]}"
    body = {"code": code, "kind": "percentage", "value": 10, "min_order_value": 3_000}
    made(api.client.post(f"{BASE}/coupons", json=body))
    cart = cart_with(api, variant["sku"])
    problem = assert_problem(use_coupon(api, cart, code), 409, "coupon-not-applicable")
    assert problem["reason"] == "minimum-not-reached"
    assert_problem(use_coupon(api, cart, "NO-SUCH-CODE"), 404, "unknown-coupon")
    made(add(api, cart, variant["sku"], 1), 200)
    found = made(use_coupon(api, cart, code.lower()), 200)
    assert (found["coupon"], found["subtotal"], found["discount"], found["total"]) == (code, 3_998, 400, 3_598)
    path = f"{BASE}/carts/{cart}"
    found = made(api.client.put(f"{path}/items/{variant['sku']}", json={"quantity": 1}), 200)
    assert (found["discount"], found["coupon_note"]) == (0, "minimum-not-reached")
    assert made(api.client.delete(f"{path}/coupon"), 200)["coupon"] is None


def test_what_changed_its_currency_is_not_sold_in_the_carts(hasty: Api) -> None:
    foreign, here = thing(hasty, price=1_000, currency="JPY"), thing(hasty, price=100, currency="JPY")
    cart = cart_with(hasty, here["sku"])
    made(add(hasty, cart, foreign["sku"]), 200)
    body = {"name": "Mug", "base_price": 15, "currency": "EUR"}
    made(hasty.client.put(f"{BASE}/products/{foreign['product_id']}", json=body), 200)
    time.sleep(1.05)
    shown = show(hasty, cart)
    assert (shown["currency"], shown["total"]) == ("JPY", 1_100)
    path = f"{BASE}/carts/{cart}/items"
    problem = assert_problem(
        hasty.client.put(f"{path}/{foreign['sku']}", json={"quantity": 1}), 409, "currency-mismatch"
    )
    assert problem["lines"] == [{"sku": foreign["sku"]}]
    made(hasty.client.delete(f"{path}/{foreign['sku']}"), 200)
    made(hasty.client.put(f"{path}/{here['sku']}", json={"quantity": 1}), 200)
    assert show(hasty, cart)["total"] == 100
