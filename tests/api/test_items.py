"""The flat listing of what is sold, held against a plain reading of every product and variant."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.api.catalogue import made, make_category, make_product, make_variant, walk
from tests.api.process import Api, assert_problem

URL = "/api/v1/items"
NAMES = ["Straße lamp", "STRASSE Lamp", "Café Mug", "mug", "Ärmel", "ärmel XL", "50 % off", "a_b", "İstanbul"]


class Shop:
    """A random catalogue below one category, and what of it should be listed."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api = api
        self.random = random.Random(seed)
        self.root = make_category(api)
        self.categories = [self.root]
        for _ in range(4):
            parent = self.random.choice(self.categories)
            self.categories.append(make_category(api, parent_id=parent["id"]))
        self.listed: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for _ in range(14):
            self.add_product()

    def add_product(self) -> None:
        product = make_product(
            self.api,
            name=self.random.choice(NAMES),
            base_price=self.random.randrange(0, 50) * 10,
            category_id=self.random.choice(self.categories)["id"],
            status=self.random.choice(["active", "active", "active", "draft", "discontinued"]),
        )
        for _ in range(self.random.randrange(3)):
            self.add_variant(product)

    def add_variant(self, product: dict[str, Any]) -> None:
        variant = make_variant(
            self.api,
            product["id"],
            price_adjustment=self.random.randrange(5) * 10,
            stock_quantity=self.random.choice([0, 1, 5]),
        )
        if variant["available"] and self.random.random() < 0.4:
            self.api.hold(variant["sku"], variant["available"])
            variant["available"] = 0
            if self.random.random() < 0.3:
                assert self.api.client.delete(f"/api/v1/variants/{variant['id']}").status_code == 200
                return
        if product["status"] == "active":
            self.listed.append((product, variant))

    def expected(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        """A plain reading of the contract."""
        parents = {category["id"]: category["parent_id"] for category in self.categories}
        slugs = {category["slug"]: category["id"] for category in self.categories}
        wanted = slugs.get(filters["category"], filters["category"])
        found = []
        for product, variant in self.listed:
            price = product["base_price"] + variant["price_adjustment"]
            above, node = set(), product["category_id"]
            while node is not None:
                above.add(node)
                node = parents[node]
            if (
                wanted in above
                and filters.get("min_value", 0) <= price <= filters.get("max_value", 10**9)
                and filters.get("name", "").casefold() in product["name"].casefold()
                and filters.get("in_stock", variant["available"] > 0) == (variant["available"] > 0)
            ):
                found.append(
                    {
                        "id": variant["id"],
                        "sku": variant["sku"],
                        "name": product["name"],
                        "price": price,
                        "currency": "EUR",
                        "quantity": variant["available"],
                    }
                )
        return found

    def some_filters(self) -> dict[str, Any]:
        category = self.random.choice(self.categories[:1] * 3 + self.categories)
        filters: dict[str, Any] = {"category": category[self.random.choice(["id", "slug"])]}
        prices = sorted(self.random.randrange(0, 56) * 10 for _ in range(2))
        others = {
            "min_value": prices[0],
            "max_value": prices[1],
            "name": self.random.choice(["mug", "STRASSE", "straße", "é", "Ä", "%", "_", "", "i̇s", "nothing"]),
            "in_stock": self.random.choice([True, False]),
        }
        filters |= {field: value for field, value in others.items() if self.random.random() < 0.5}
        return filters


@pytest.fixture(scope="module")
def shop(api: Api) -> Shop:
    return Shop(api, seed=3)


def test_every_combination_of_filters_lists_what_a_plain_reading_lists(api: Api, shop: Shop) -> None:
    sizes = []
    for _ in range(120):
        filters = shop.some_filters()
        expected = shop.expected(filters)
        assert walk(api, URL, shop.random.choice([1, 2, 3, 50, 500]), **filters) == expected, filters
        sizes.append(len(expected))
    assert max(sizes) > 5
    assert sum(size > 0 for size in sizes) > 30


def test_the_bounds_of_the_price_are_inclusive(api: Api) -> None:
    category = make_category(api)["id"]
    variant = make_variant(api, make_product(api, base_price=500, category_id=category)["id"], price_adjustment=50)

    def ids(low: int, high: int) -> list[str]:
        return [item["id"] for item in walk(api, URL, category=category, min_value=low, max_value=high)]

    assert ids(550, 550) == [variant["id"]]
    assert (ids(551, 10_000), ids(0, 549), ids(600, 500)) == ([], [], [])


@pytest.mark.parametrize("in_stock", [None, True])
def test_a_page_stays_as_it_is_while_rows_are_added(api: Api, in_stock: bool | None) -> None:  # noqa: FBT001
    category = make_category(api)["id"]
    product = make_product(api, category_id=category)["id"]
    filters: dict[str, Any] = {"category": category} | ({} if in_stock is None else {"in_stock": in_stock})
    before = [make_variant(api, product)["id"] for _ in range(4)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        asked = {**filters, "limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = made(api.client.get(URL, params=asked), 200)
        seen += [item["id"] for item in page["items"]]
        if len(before) < 7:
            before.append(make_variant(api, product)["id"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == before[: len(seen)]
    assert len(seen) >= 4


def test_the_last_page_says_that_it_is_the_last(api: Api) -> None:
    category = make_category(api)["id"]
    product = make_product(api, category_id=category)["id"]
    for _ in range(2):
        make_variant(api, product)
    for filters in ({}, {"in_stock": True}):
        page = made(api.client.get(URL, params={"category": category, "limit": 2, **filters}), 200)
        assert (len(page["items"]), page["next_cursor"]) == (2, None)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        *(({"min_value": value}, "min_value") for value in ("-1", "x", "1.5", "", "9" * 30)),
        *(({"max_value": value}, "max_value") for value in ("-1", "x", "1.5", "", "9" * 30)),
        *(({"in_stock": value}, "in_stock") for value in ("yes!", "2", "")),
        ({"name": "x" * 201}, "name"),
        ({"category": "x" * 201}, "category"),
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"cursor": "*"}, "cursor"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_its_name(api: Api, parameters: dict[str, str], field: str) -> None:
    found = assert_problem(api.client.get(URL, params=parameters), 400, "validation-failed")
    assert found["errors"][0]["field"] == field


@pytest.mark.parametrize("filters", [{"category": "no-such"}, {"category": "\x00"}, {"name": "\x00' OR 1=1 --"}])
def test_a_filter_that_nothing_fits_lists_nothing(api: Api, filters: dict[str, Any]) -> None:
    assert walk(api, URL, **filters) == []
