"""Products over HTTP."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.api.catalogue import (
    CONTROLS,
    LONG,
    NOT_INTEGERS,
    NOT_TEXTS,
    made,
    make_category,
    make_product,
    make_variant,
    name,
    walk,
)
from tests.api.process import Api, assert_problem, running_api
from tests.databases import drop

URL = "/api/v1/products"
SEEN_WITHIN_S = 5.0


def test_a_product_is_made_with_every_field_and_read_the_same(api: Api) -> None:
    category = make_category(api)
    body = {
        "name": "Harbour T-shirt",
        "description": "Heavy organic cotton.\n\tWash at 30 °C.",
        "base_price": 2900,
        "currency": "EUR",
        "category_id": category["id"],
        "status": "draft",
        "brand": "Harbour",
        "tags": ["summer", "côton"],
        "attributes": {"material": "cotton", "weight_g": 220, "thickness": 1.5, "washable": True},
    }
    response = api.client.post(URL, json=body)
    product = made(response)
    assert product["id"].startswith("prod_")
    assert {field: product[field] for field in body} == body
    assert product["variants"] == []
    read = api.client.get(f"{URL}/{product['id']}")
    assert (read.text, read.headers["ETag"]) == (response.text, response.headers["ETag"])


def test_what_a_product_does_not_say_has_its_default_in_a_put_too(api: Api) -> None:
    short = {"name": "Mug", "base_price": 0, "currency": "JPY"}
    product = make_product(api, brand="B", tags=["t"], attributes={"a": 1}, status="draft", description="d")
    replaced = made(api.client.put(f"{URL}/{product['id']}", json=short), 200)
    defaults = {
        "description": "",
        "category_id": None,
        "status": "active",
        "brand": None,
        "tags": [],
        "attributes": {},
        **short,
    }
    assert {field: replaced[field] for field in defaults} == defaults
    assert (replaced["id"], replaced["created_at"]) == (product["id"], product["created_at"])
    assert api.client.get(f"{URL}/{product['id']}").json() == replaced


def test_a_product_shows_its_variants_with_their_stock(api: Api) -> None:
    product = make_product(api)
    variants = [make_variant(api, product["id"], attributes={"size": size}) for size in ("S", "M")]
    api.hold(variants[0]["sku"], 3)
    shown = api.client.get(f"{URL}/{product['id']}").json()["variants"]
    assert [variant["id"] for variant in shown] == [variant["id"] for variant in variants]
    assert [(v["stock_quantity"], v["reserved_quantity"], v["available"]) for v in shown] == [(10, 3, 7), (10, 0, 10)]


DESCRIPTIONS: list[Any] = [1, None, [], LONG, "x" * 5_001, *CONTROLS]
CATEGORIES: list[Any] = [1, [], "", "a b", LONG]
STATUSES: list[Any] = [1, None, "", "sold", "ACTIVE"]
TAG_LISTS: list[Any] = [None, "a", {}, ["t"] * 51]
ATTRIBUTES: list[Any] = [None, [], "a", {f"a{i}": 1 for i in range(51)}]
ATTRIBUTE_VALUES: list[Any] = [None, [], {}, LONG, 10**30, -1e300, *CONTROLS]
BAD: list[tuple[dict[str, Any], str]] = [
    *(({"name": text}, "name") for text in (*NOT_TEXTS, None, "", "  ", "x" * 201)),
    *(({"description": text}, "description") for text in DESCRIPTIONS),
    *(({"base_price": price}, "base_price") for price in (*NOT_INTEGERS, -1, 10**12 + 1, 10**30)),
    *(({"currency": text}, "currency") for text in (*NOT_TEXTS, None, "", "eur", "EU", "QQQ", "EURO", "EUR\n")),
    *(({"category_id": text}, "category_id") for text in CATEGORIES),
    *(({"status": text}, "status") for text in STATUSES),
    *(({"brand": text}, "brand") for text in (*NOT_TEXTS, "", " ", "x" * 201)),
    *(({"tags": tags}, "tags") for tags in TAG_LISTS),
    *(({"tags": [tag]}, "tags[0]") for tag in (*NOT_TEXTS, None, "", "x" * 65)),
    *(({"attributes": found}, "attributes") for found in ATTRIBUTES),
    *(({"attributes": {"a": value}}, "attributes[...]") for value in ATTRIBUTE_VALUES),
    ({"unknown": 1}, "unknown"),
    ({"id": "prod_x"}, "id"),
    ({"variants": []}, "variants"),
]


@pytest.mark.parametrize(("change", "field"), BAD, ids=[repr(change)[:50] for change, _ in BAD])
def test_a_product_that_is_not_valid_names_its_field(api: Api, change: dict[str, Any], field: str) -> None:
    body = {"name": "Fine", "base_price": 1, "currency": "EUR", **change}
    found = assert_problem(api.client.post(URL, json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == field


@pytest.mark.parametrize("attribute", ["", "x" * 65, "a\x00b", "\x7f"])
def test_the_name_of_an_attribute_is_bounded_too(api: Api, attribute: str) -> None:
    body = {"name": "Fine", "base_price": 1, "currency": "EUR", "attributes": {attribute: 1}}
    assert_problem(api.client.post(URL, json=body), 400, "validation-failed")


@pytest.mark.parametrize("missing", ["name", "base_price", "currency"])
def test_what_a_product_needs_must_be_there(api: Api, missing: str) -> None:
    body: dict[str, Any] = {"name": "Fine", "base_price": 1, "currency": "EUR"}
    del body[missing]
    found = assert_problem(api.client.post(URL, json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == missing


def test_a_category_that_does_not_exist_is_404(api: Api) -> None:
    product = make_product(api)
    body = {"name": "Fine", "base_price": 1, "currency": "EUR", "category_id": "cat_none"}
    assert_problem(api.client.post(URL, json=body), 404, "unknown-category")
    assert_problem(api.client.put(f"{URL}/{product['id']}", json=body), 404, "unknown-category")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("odd", ["prod_none", "%00", "x" * 300, "a%20b"])
def test_an_unknown_product_is_404_however_odd_its_id(api: Api, method: str, odd: str) -> None:
    body = {"name": "x", "base_price": 1, "currency": "EUR"} if method == "PUT" else None
    assert_problem(api.client.request(method, f"{URL}/{odd}", json=body), 404, "unknown-product")


def test_a_base_price_never_lets_a_variant_cost_less_than_nothing(api: Api) -> None:
    product = make_product(api, base_price=500)
    make_variant(api, product["id"], price_adjustment=-300)
    body = {"name": "Mug", "base_price": 299, "currency": "EUR"}
    found = assert_problem(api.client.put(f"{URL}/{product['id']}", json=body), 400, "validation-failed")
    assert found["errors"][0]["field"] == "base_price"
    assert api.client.put(f"{URL}/{product['id']}", json={**body, "base_price": 300}).status_code == 200


def test_a_change_under_if_match_happens_in_the_state_that_was_read_only(api: Api) -> None:
    product = make_product(api)
    url = f"{URL}/{product['id']}"
    first = api.client.get(url).headers["ETag"]
    body = {"name": "Two", "base_price": 1, "currency": "EUR"}
    assert api.client.put(url, json=body, headers={"If-Match": first}).status_code == 200
    assert_problem(api.client.put(url, json=body, headers={"If-Match": first}), 412, "precondition-failed")
    assert_problem(api.client.delete(url, headers={"If-Match": first}), 412, "precondition-failed")
    assert api.client.put(url, json=body).status_code == 200
    current = api.client.get(url).headers["ETag"]
    assert api.client.delete(url, headers={"If-Match": current}).status_code == 204


def test_what_never_sold_is_deleted_with_its_variants_and_their_stock(api: Api) -> None:
    product = make_product(api)
    variants = [make_variant(api, product["id"]) for _ in range(2)]
    response = api.client.delete(f"{URL}/{product['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(api.client.get(f"{URL}/{product['id']}"), 404, "unknown-product")
    for variant in variants:
        assert_problem(api.client.get(f"/api/v1/variants/{variant['id']}"), 404, "unknown-variant")
        assert api.stock(variant["sku"])["on_hand"] == 0


@pytest.mark.parametrize("is_sold", [True, False])
def test_what_was_sold_or_is_reserved_is_discontinued_instead(api: Api, *, is_sold: bool) -> None:
    product = make_product(api)
    idle, wanted = (make_variant(api, product["id"]) for _ in range(2))
    hold = api.hold(wanted["sku"], 2)
    if is_sold:
        api.client.post(f"/api/v1/holds/{hold['id']}/commit")
    retired = made(api.client.delete(f"{URL}/{product['id']}"), 200)
    assert retired["status"] == "discontinued"
    assert [variant["id"] for variant in retired["variants"]] == [idle["id"], wanted["id"]]
    assert made(api.client.delete(f"{URL}/{product['id']}"), 200) == retired
    assert api.client.get(f"{URL}/{product['id']}").json() == retired
    assert [api.stock(v["sku"])["on_hand"] for v in (idle, wanted)] == [10, 8 if is_sold else 10]
    listed = {item["id"] for item in walk(api, "/api/v1/items", 500)}
    assert listed.isdisjoint({idle["id"], wanted["id"]})


def test_the_list_is_filtered_by_status_and_by_category_with_everything_below(api: Api) -> None:
    top = make_category(api)
    below = make_category(api, parent_id=top["id"])
    elsewhere = make_category(api)
    made_here = [
        make_product(api, category_id=category["id"], status=status)
        for status in ("active", "draft")
        for category in (below, top, elsewhere)
    ]
    inside = [product["id"] for product in made_here if product["category_id"] != elsewhere["id"]]
    assert [p["id"] for p in walk(api, URL, 1, category_id=top["id"])] == inside
    assert [p["id"] for p in walk(api, URL, 3, category_id=below["id"], status="draft")] == [made_here[3]["id"]]
    assert walk(api, URL, category_id="cat_none") == []
    assert {p["id"] for p in made_here} <= {p["id"] for p in walk(api, URL, 500)}
    drafts = walk(api, URL, 500, status="draft")
    assert {p["status"] for p in drafts} == {"draft"}
    assert "variants" not in drafts[0]
    assert_problem(api.client.get(URL, params={"status": "sold"}), 400, "validation-failed")


def test_a_page_stays_as_it_is_while_products_are_added(api: Api) -> None:
    category = make_category(api)["id"]
    first = [make_product(api, category_id=category)["id"] for _ in range(5)]
    page = made(api.client.get(URL, params={"limit": 3, "category_id": category}), 200)
    added = [make_product(api, category_id=category)["id"] for _ in range(2)]
    rest = walk(api, URL, 3, category_id=category)
    following = made(api.client.get(URL, params={"category_id": category, "cursor": page["next_cursor"]}), 200)
    assert [p["id"] for p in page["items"] + following["items"]] == [p["id"] for p in rest] == first + added


def test_asking_twice_with_one_key_is_asking_once(api: Api) -> None:
    body: dict[str, Any] = {"name": name("Once"), "base_price": 1, "currency": "EUR", "attributes": {"b": 1, "a": 2}}
    headers = {"Idempotency-Key": uuid4().hex}
    answers = [api.client.post(URL, json=body, headers=headers) for _ in range(2)]
    assert (answers[1].status_code, answers[1].text) == (201, answers[0].text)
    assert answers[1].headers["ETag"] == answers[0].headers["ETag"]
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true"]
    assert_problem(api.client.post(URL, json={**body, "base_price": 2}, headers=headers), 422, "idempotency-key-reused")
    assert sum(product["name"] == body["name"] for product in walk(api, URL, 500)) == 1


def test_another_process_sees_a_change_and_a_deletion_within_a_second_or_so(api: Api, tmp_path: Path) -> None:
    with running_api(api.settings, tmp_path / "api.log") as other:
        kept, dropped = make_product(api), make_product(api)
        _wait(other, kept["id"], "Mug")
        for process, text in ((other, "Second"), (api, "Third")):
            body = {"name": text, "base_price": 1, "currency": "EUR"}
            assert process.client.put(f"{URL}/{kept['id']}", json=body).status_code == 200
            assert process.client.get(f"{URL}/{kept['id']}").json()["name"] == text
            _wait(api if process is other else other, kept["id"], text)
        assert api.client.delete(f"{URL}/{dropped['id']}").status_code == 204
        _wait(other, dropped["id"], None)


def test_while_postgresql_is_away_reads_go_on_and_writes_are_503(
    own_api: Api, database_url: str, clean_database_url: str
) -> None:
    category = make_category(own_api)
    product = make_product(own_api, category_id=category["id"])
    variant = make_variant(own_api, product["id"])
    name_of_database = clean_database_url.rpartition("/")[2].partition("?")[0]
    drop(database_url, name_of_database)
    own_api.hold(variant["sku"], 1)
    assert own_api.client.get(f"/api/v1/categories/{category['id']}").json() == category
    assert own_api.client.get(f"{URL}/{product['id']}").json()["variants"][0]["available"] == 9
    assert [item["quantity"] for item in walk(own_api, "/api/v1/items")] == [9]
    for response in (
        own_api.client.post(URL, json={"name": "x", "base_price": 1, "currency": "EUR"}),
        own_api.client.delete(f"/api/v1/variants/{variant['id']}"),
        own_api.client.delete(f"/api/v1/categories/{category['id']}"),
    ):
        assert_problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
    assert own_api.stock(variant["sku"])["on_hand"] == 10


def _wait(api: Api, product_id: str, expected: str | None) -> None:
    deadline = time.monotonic() + SEEN_WITHIN_S
    while (found := api.client.get(f"{URL}/{product_id}").json().get("name")) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
