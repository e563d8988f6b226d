"""Pricing rules and prices over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.api.process import Api, assert_problem

RULES = "/api/v1/pricing-rules"


@pytest.fixture
def product(api: Api) -> dict[str, Any]:
    """A product of 500.00 in a category below another."""
    parent = created(api, "/api/v1/categories", {"name": "Home", "slug": f"home-{uuid4().hex[:8]}"})
    child = {"name": "Lamps", "slug": f"lamps-{uuid4().hex[:8]}", "parent_id": parent["id"]}
    leaf = created(api, "/api/v1/categories", child)
    body = {"name": "Lamp", "base_price": 50_000, "currency": "EUR", "category_id": leaf["id"]}
    return {**created(api, "/api/v1/products", body), "parent_id": parent["id"]}


@pytest.fixture
def variant(api: Api, product: dict[str, Any]) -> dict[str, Any]:
    """One that costs 50.00 more."""
    sku = f"LAMP-{uuid4().hex[:8]}"
    body = {"product_id": product["id"], "sku": sku, "price_adjustment": 5_000, "stock_quantity": 3}
    return created(api, "/api/v1/variants", body)


def created(api: Api, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def rule(api: Api, **fields: Any) -> dict[str, Any]:
    return created(api, RULES, {"name": "Rule", **fields})


def priced(api: Api, product: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    answer = api.client.get(f"/api/v1/products/{product['id']}/price", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_worked_example_holds(api: Api, product: dict[str, Any], variant: dict[str, Any]) -> None:
    bulk = rule(api, kind="bulk", min_quantity=5, percent=10, product_id=product["id"])
    gold = rule(api, kind="tier", user_tier="GOLD", percent=5, product_id=product["id"])
    asked = {"variant_id": variant["id"], "quantity": 10, "user_tier": "GOLD"}
    found = priced(api, product, **asked)
    assert found == {
        "unit_price": 46_750,
        "total_price": 467_500,
        "currency": "EUR",
        "list_price": 55_000,
        "discount": 8_250,
        "applied_rules": found["applied_rules"],
    }
    discounts = {applied["rule_id"]: applied["discount"] for applied in found["applied_rules"]}
    assert discounts == {bulk["id"]: 5_500, gold["id"]: 2_750}
    for each in (bulk, gold):
        body = {name: each[name] for name in ("name", "kind", "min_quantity", "user_tier", "percent", "product_id")}
        given = {name: value for name, value in body.items() if value is not None}
        answer = api.client.put(f"{RULES}/{each['id']}", json={**given, "stacking": "multiplicative"})
        assert answer.status_code == 200, answer.text
    assert priced(api, product, **asked)["unit_price"] == 47_025


def test_a_rule_of_a_category_reaches_everything_below_it(api: Api, product: dict[str, Any]) -> None:
    rule(api, kind="seasonal", starts_at="2026-01-01T00:00:00Z", percent=50, category_id=product["parent_id"])
    assert priced(api, product, at="2026-06-01T00:00:00+02:00")["unit_price"] == 25_000
    assert priced(api, product, at="2025-12-31T23:59:59Z")["unit_price"] == 50_000


def test_each_kind_of_rule_prices_as_it_says(api: Api, product: dict[str, Any], variant: dict[str, Any]) -> None:
    rule(api, kind="promo", promo_code="SPRING", amount=1_000, variant_id=variant["id"])
    rule(api, kind="buy_x_get_y", buy_quantity=2, get_quantity=1, min_quantity=3, variant_id=variant["id"])
    asked = {"variant_id": variant["id"]}
    assert priced(api, product, **asked)["unit_price"] == 55_000
    assert priced(api, product, **asked, promo_code="spring")["unit_price"] == 54_000
    assert priced(api, product, **asked, quantity=3)["total_price"] == 36_667 * 3
    sale = rule(api, kind="sale_price", price=9_900, stacking="exclusive", variant_id=variant["id"])
    assert priced(api, product, **asked, promo_code="SPRING")["unit_price"] == 9_900
    assert priced(api, product)["unit_price"] == 50_000
    assert api.client.delete(f"{RULES}/{sale['id']}").status_code == 204
    assert priced(api, product, **asked)["unit_price"] == 55_000


@pytest.mark.parametrize("kind", ["bulk", "tier", "promo", "seasonal"])
def test_a_rule_without_a_condition_is_for_everybody(api: Api, product: dict[str, Any], kind: str) -> None:
    rule(api, kind=kind, percent=10, product_id=product["id"])
    assert priced(api, product)["unit_price"] == 45_000


def test_a_rule_is_read_listed_replaced_and_deleted(api: Api) -> None:
    made = rule(api, kind="bulk", min_quantity=2, amount=5, ends_at="2026-12-01T00:00:00Z", priority=3, active=False)
    url = f"{RULES}/{made['id']}"
    answer = api.client.get(url)
    assert answer.json() == made
    assert (made["ends_at"], made["starts_at"], made["percent"]) == ("2026-12-01T00:00:00.000Z", None, None)
    listed: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        found = api.client.get(RULES, params={"limit": 2, **cursor}).json()
        listed += found["items"]
        if found["next_cursor"] is None:
            break
        cursor = {"cursor": found["next_cursor"]}
    assert made in listed
    body = {"name": "Other", "kind": "tier", "user_tier": "VIP", "percent": 1}
    assert_problem(api.client.put(url, json=body, headers={"If-Match": '"1"'}), 412, "precondition-failed")
    replaced = api.client.put(url, json=body, headers={"If-Match": answer.headers["etag"]})
    assert (replaced.status_code, replaced.json()["min_quantity"], replaced.json()["priority"]) == (200, None, 0)
    assert api.client.delete(url).status_code == 204
    for again in (api.client.get(url), api.client.put(url, json=body), api.client.delete(url)):
        assert_problem(again, 404, "unknown-rule")


def test_a_rule_for_what_is_gone_can_be_switched_off_but_not_made_for_something_else_that_is(api: Api) -> None:
    gone = [created(api, "/api/v1/products", {"name": "Gone", "base_price": 100, "currency": "EUR"}) for _ in range(2)]
    body = {"name": "Sale", "kind": "promo", "percent": 10, "product_id": gone[0]["id"]}
    made = created(api, RULES, body)
    for product in gone:
        assert api.client.delete(f"/api/v1/products/{product['id']}").status_code == 204
    switched = api.client.put(f"{RULES}/{made['id']}", json={**body, "active": False})
    assert (switched.status_code, switched.json()["active"]) == (200, False)
    other = api.client.put(f"{RULES}/{made['id']}", json={**body, "product_id": gone[1]["id"]})
    assert_problem(other, 400, "validation-failed")


def test_a_rule_asked_for_twice_is_made_once(api: Api) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"name": "Once", "kind": "tier", "user_tier": "VIP", "percent": 1}
    first, again = (api.client.post(RULES, json=body, headers=headers) for _ in range(2))
    assert (first.json(), again.headers["idempotent-replayed"]) == (again.json(), "true")
    other = api.client.post(RULES, json={**body, "percent": 2}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")


GOOD = {"name": "Rule", "kind": "bulk", "min_quantity": 5, "percent": 10}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "free"}, "kind"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"more": 1}, "more"),
        ({"min_quantity": 0}, "min_quantity"),
        ({"percent": 0}, "percent"),
        ({"percent": 101}, "percent"),
        ({"percent": 10.0}, "percent"),
        ({"percent": None}, "percent"),
        ({"amount": 5}, "percent"),
        ({"price": 5}, "price"),
        ({"buy_quantity": 1}, "buy_quantity"),
        ({"kind": "sale_price"}, "price"),
        ({"kind": "sale_price", "price": 5}, "percent"),
        ({"kind": "buy_x_get_y", "buy_quantity": 2, "percent": None}, "get_quantity"),
        ({"stacking": "some"}, "stacking"),
        ({"priority": "high"}, "priority"),
        ({"starts_at": "yesterday"}, "starts_at"),
        ({"starts_at": "2026-01-01T00:00:00"}, "starts_at"),
        ({"starts_at": "0001-01-01T00:00:00+14:00"}, "starts_at"),
        ({"ends_at": "9999-12-31T23:59:59-12:00"}, "ends_at"),
        ({"starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}, "ends_at"),
        ({"product_id": "prod_none"}, "product_id"),
        ({"variant_id": "var_none"}, "variant_id"),
        ({"category_id": "cat_none"}, "category_id"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_its_field(api: Api, changes: dict[str, Any], field: str) -> None:
    found = assert_problem(api.client.post(RULES, json=GOOD | changes), 400, "validation-failed")
    assert found["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": "1.5"}, "quantity"),
        ({"at": "soon"}, "at"),
        ({"at": "2026-01-01T00:00:00"}, "at"),
        *(({"at": number}, "at") for number in ("0.5", "1767225600", "-1", "1e400", "NaN")),
    ],
)
def test_a_price_asked_for_wrongly_is_refused(
    api: Api, product: dict[str, Any], parameters: dict[str, Any], field: str
) -> None:
    answer = api.client.get(f"/api/v1/products/{product['id']}/price", params=parameters)
    assert assert_problem(answer, 400, "validation-failed")["errors"][0]["field"] == field


def test_a_price_of_nothing_that_exists_is_unknown(api: Api, product: dict[str, Any]) -> None:
    assert_problem(api.client.get("/api/v1/products/prod_none/price"), 404, "unknown-product")
    path = f"/api/v1/products/{product['id']}/price"
    assert_problem(api.client.get(path, params={"variant_id": "var_none"}), 404, "unknown-variant")
