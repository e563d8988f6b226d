"""Variants over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.api.catalogue import CONTROLS, LONG, NOT_INTEGERS, made, make_product, make_variant, name, walk
from tests.api.process import Api, assert_problem

URL = "/api/v1/variants"


def counts(variant: dict[str, Any]) -> tuple[int, int, int]:
    return variant["stock_quantity"], variant["reserved_quantity"], variant["available"]


def body_of(variant: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a PUT of this variant says; without a count unless it is among the changes."""
    return {field: variant[field] for field in ("product_id", "sku", "attributes", "price_adjustment")} | changes


def test_creating_a_variant_creates_its_stock(api: Api) -> None:
    product = make_product(api)
    sku = name("SKU")
    body = {
        "product_id": product["id"],
        "sku": sku,
        "attributes": {"size": "M", "pack": 2, "eco": False},
        "price_adjustment": -50,
        "stock_quantity": 12,
    }
    response = api.client.post(URL, json=body)
    variant = made(response)
    assert variant["id"].startswith("var_")
    assert {field: variant[field] for field in body} == body
    assert (counts(variant), variant["retired"]) == ((12, 0, 12), False)
    assert api.stock(sku)["on_hand"] == 12
    read = api.client.get(f"{URL}/{variant['id']}")
    assert (read.text, read.headers["ETag"]) == (response.text, response.headers["ETag"])
    assert counts(make_variant(api, stock_quantity=0)) == (0, 0, 0)


def test_reading_a_variant_shows_its_stock_of_this_moment(api: Api) -> None:
    variant = make_variant(api)
    url = f"{URL}/{variant['id']}"
    etag = api.client.get(url).headers["ETag"]
    hold = api.hold(variant["sku"], 4)
    assert counts(api.client.get(url).json()) == (10, 4, 6)
    api.client.post(f"/api/v1/holds/{hold['id']}/commit")
    assert counts(api.client.get(url).json()) == (6, 0, 6)
    assert api.client.get(url).headers["ETag"] == etag
    listed = made(api.client.get(URL, params={"product_id": variant["product_id"]}), 200)["items"]
    assert [counts(item) for item in listed] == [(6, 0, 6)]


def test_a_sku_has_one_variant(api: Api) -> None:
    variant = make_variant(api)
    body = body_of(variant, product_id=make_product(api)["id"], stock_quantity=99)
    assert_problem(api.client.post(URL, json=body), 409, "sku-exists")
    assert api.stock(variant["sku"])["on_hand"] == 10


def test_of_concurrent_creations_of_one_sku_one_succeeds(api: Api) -> None:
    body = {"product_id": make_product(api)["id"], "sku": name("RACE"), "stock_quantity": 5}
    with ThreadPoolExecutor(10) as crowd:
        answers = list(crowd.map(lambda _: api.client.post(URL, json=body).status_code, range(10)))
    assert sorted(answers) == [201] + [409] * 9
    assert api.stock(str(body["sku"]))["on_hand"] == 5


def test_stock_without_a_variant_is_adopted_and_counted(api: Api) -> None:
    product = make_product(api)["id"]
    for before, after in ((3, 8), (8, 3), (4, 4)):
        sku = api.create(before, customer_limit=2)
        api.hold(sku, 2)
        assert counts(make_variant(api, product, sku=sku, stock_quantity=after)) == (after, 2, after - 2)
        assert api.stock(sku)["customer_limit"] == 2


def test_stock_without_a_variant_is_adopted_as_it_is_where_no_count_is_told(api: Api) -> None:
    sku = api.create(5, customer_limit=2)
    api.hold(sku, 2)
    response = api.client.post(URL, json={"product_id": make_product(api)["id"], "sku": sku})
    assert counts(made(response)) == (5, 2, 3)
    assert api.stock(sku)["on_hand"] == 5


def test_stock_that_cannot_be_counted_down_leaves_no_variant(api: Api) -> None:
    sku = api.create(5)
    api.hold(sku, 3)
    body = {"product_id": make_product(api)["id"], "sku": sku, "stock_quantity": 2}
    found = assert_problem(api.client.post(URL, json=body), 409, "insufficient-stock")
    assert found["lines"] == [{"sku": sku, "requested": 3, "available": 2}]
    assert walk(api, URL, product_id=body["product_id"]) == []
    assert api.client.post(URL, json={**body, "stock_quantity": 3}).status_code == 201


def test_a_put_replaces_the_fields_and_leaves_the_stock_unless_it_is_counted(api: Api) -> None:
    variant, other = make_variant(api), make_product(api)
    url = f"{URL}/{variant['id']}"
    body = body_of(variant, product_id=other["id"], attributes={"size": "L"}, price_adjustment=7)
    replaced = made(api.client.put(url, json=body), 200)
    assert {field: replaced[field] for field in body} == body
    assert (counts(replaced), replaced["created_at"]) == ((10, 0, 10), variant["created_at"])
    bare = {"product_id": other["id"], "sku": variant["sku"]}
    replaced = made(api.client.put(url, json=bare), 200)
    assert (replaced["attributes"], replaced["price_adjustment"]) == ({}, 0)
    assert api.client.get(url).json() == replaced


def test_a_put_of_the_stock_quantity_counts_the_stock(api: Api) -> None:
    variant = make_variant(api)
    url = f"{URL}/{variant['id']}"
    api.hold(variant["sku"], 4)
    for quantity in (25, 25, 4):
        assert counts(made(api.client.put(url, json=body_of(variant, stock_quantity=quantity)), 200)) == (
            quantity,
            4,
            quantity - 4,
        )
    before = api.client.get(url)
    refused = api.client.put(url, json=body_of(variant, stock_quantity=3, price_adjustment=9))
    assert_problem(refused, 409, "insufficient-stock")
    after = api.client.get(url)
    assert (after.text, after.headers["ETag"]) == (before.text, before.headers["ETag"])


def test_the_sku_of_a_variant_cannot_change(api: Api) -> None:
    variant = make_variant(api)
    response = api.client.put(f"{URL}/{variant['id']}", json=body_of(variant, sku=name("NEW")))
    assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == "sku"


def test_no_variant_costs_less_than_nothing(api: Api) -> None:
    product = make_product(api, base_price=100)["id"]
    variant = make_variant(api, product, price_adjustment=-100)
    too_low = body_of(variant, sku=name("LOW"), price_adjustment=-101)
    for response in (
        api.client.post(URL, json=too_low),
        api.client.put(f"{URL}/{variant['id']}", json={**too_low, "sku": variant["sku"]}),
    ):
        assert assert_problem(response, 400, "validation-failed")["errors"][0]["field"] == "price_adjustment"


PRODUCTS: list[Any] = [1, None, [], "", "a b", LONG, *CONTROLS]
SKUS: list[Any] = [1, None, [], "", "a b", "ä", "A\n", "x" * 65, LONG, *CONTROLS]
ATTRIBUTES: list[Any] = [None, [], "a", {f"a{i}": 1 for i in range(51)}]
ATTRIBUTE_VALUES: list[Any] = [None, [], {}, LONG, 10**30]
BAD: list[tuple[dict[str, Any], str]] = [
    *(({"product_id": text}, "product_id") for text in PRODUCTS),
    *(({"sku": text}, "sku") for text in SKUS),
    *(({"attributes": found}, "attributes") for found in ATTRIBUTES),
    *(({"attributes": {"a": value}}, "attributes[...]") for value in ATTRIBUTE_VALUES),
    *(({"price_adjustment": n}, "price_adjustment") for n in (*NOT_INTEGERS, 10**12 + 1, -(10**12) - 1, 10**30)),
    *(({"stock_quantity": n}, "stock_quantity") for n in (*NOT_INTEGERS, -1, 10**9 + 1, 10**30)),
    ({"unknown": 1}, "unknown"),
    ({"reserved_quantity": 1}, "reserved_quantity"),
]


@pytest.mark.parametrize(("change", "field"), BAD, ids=[repr(change)[:50] for change, _ in BAD])
def test_a_variant_that_is_not_valid_names_its_field(api: Api, change: dict[str, Any], field: str) -> None:
    body = {"product_id": "prod_none", "sku": "BAD-VARIANT", "stock_quantity": 1, **change}
    found = assert_problem(api.client.post(URL, json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == field


def test_a_product_that_does_not_exist_is_404_and_no_stock_is_made(api: Api) -> None:
    variant, sku = make_variant(api), name("LOST")
    body = {"product_id": "prod_none", "sku": sku, "stock_quantity": 1}
    assert_problem(api.client.post(URL, json=body), 404, "unknown-product")
    assert_problem(api.client.get(f"/api/v1/stock/{sku}"), 404, "unknown-sku")
    changed = body_of(variant, product_id="prod_none")
    assert_problem(api.client.put(f"{URL}/{variant['id']}", json=changed), 404, "unknown-product")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("odd", ["var_none", "%00", "x" * 300, "a%20b"])
def test_an_unknown_variant_is_404_however_odd_its_id(api: Api, method: str, odd: str) -> None:
    body = {"product_id": "prod_none", "sku": "A"} if method == "PUT" else None
    assert_problem(api.client.request(method, f"{URL}/{odd}", json=body), 404, "unknown-variant")


def test_a_change_under_if_match_happens_in_the_state_that_was_read_only(api: Api) -> None:
    variant = make_variant(api)
    url, body = f"{URL}/{variant['id']}", body_of(variant, stock_quantity=11)
    first = api.client.get(url).headers["ETag"]
    assert api.client.put(url, json=body, headers={"If-Match": first}).status_code == 200
    stale = api.client.put(url, json={**body, "stock_quantity": 50}, headers={"If-Match": first})
    assert_problem(stale, 412, "precondition-failed")
    assert_problem(api.client.delete(url, headers={"If-Match": first}), 412, "precondition-failed")
    assert api.stock(variant["sku"])["on_hand"] == 11
    assert api.client.delete(url, headers={"If-Match": "*"}).status_code == 204


def test_a_variant_that_never_sold_is_deleted_and_its_stock_written_off(api: Api) -> None:
    variant = make_variant(api)
    released = api.hold(variant["sku"], 2)
    api.client.delete(f"/api/v1/holds/{released['id']}")
    response = api.client.delete(f"{URL}/{variant['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(api.client.get(f"{URL}/{variant['id']}"), 404, "unknown-variant")
    assert api.stock(variant["sku"])["on_hand"] == 0
    again = make_variant(api, variant["product_id"], sku=variant["sku"], stock_quantity=3)
    assert (counts(again), again["id"] != variant["id"]) == ((3, 0, 3), True)


@pytest.mark.parametrize("is_sold", [True, False])
def test_a_variant_that_sold_or_is_reserved_is_retired_instead(api: Api, *, is_sold: bool) -> None:
    variant = make_variant(api)
    hold = api.hold(variant["sku"], 2)
    if is_sold:
        api.client.post(f"/api/v1/holds/{hold['id']}/commit")
    retired = made(api.client.delete(f"{URL}/{variant['id']}"), 200)
    assert retired["retired"] is True
    assert made(api.client.delete(f"{URL}/{variant['id']}"), 200) == retired
    assert api.client.get(f"{URL}/{variant['id']}").json() == retired
    assert variant["id"] not in {item["id"] for item in walk(api, "/api/v1/items", 500)}
    body = body_of(variant, sku=variant["sku"])
    assert_problem(api.client.post(URL, json=body), 409, "sku-exists")
    assert made(api.client.put(f"{URL}/{variant['id']}", json=body), 200)["retired"] is True


def test_the_list_walks_every_variant_in_order_of_creation(api: Api) -> None:
    product = make_product(api)["id"]
    variants = [make_variant(api, product)["id"] for _ in range(5)]
    assert [item["id"] for item in walk(api, URL, 2, product_id=product)] == variants
    everything = [item["id"] for item in walk(api, URL, 500)]
    assert [found for found in everything if found in variants] == variants
    assert walk(api, URL, product_id="prod_none") == []


def test_asking_twice_with_one_key_is_asking_once(api: Api) -> None:
    body = {"product_id": make_product(api)["id"], "sku": name("ONCE"), "stock_quantity": 5}
    headers = {"Idempotency-Key": uuid4().hex}
    first = api.client.post(URL, json=body, headers=headers)
    api.hold(str(body["sku"]), 1)
    again = api.client.post(URL, json=body, headers=headers)
    assert (again.status_code, again.text) == (201, first.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = api.client.post(URL, json={**body, "stock_quantity": 6}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")
    assert api.stock(str(body["sku"]))["on_hand"] == 5
