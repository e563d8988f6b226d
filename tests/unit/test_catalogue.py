"""The catalogue as a snapshot: look-ups over random trees, and changes that leave the old one as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.catalogue import page
from engine.catalogue import (
    Catalogue,
    Category,
    Product,
    ProductStatus,
    Row,
    Variant,
    rows_after,
    slug_of,
)
from engine.coupons import Coupon


def category(number: int, parent: int | None = None) -> Category:
    return Category(
        id=f"c{number}",
        name=f"C{number}",
        slug=f"s{number}",
        parent_id=None if parent is None else f"c{parent}",
        position=number,
    )


def product(number: int, category_number: int | None = None, status: str = "active") -> Product:
    return Product(
        id=f"p{number}",
        name=f"Straße {number}",
        base_price=100,
        currency="EUR",
        category_id=None if category_number is None else f"c{category_number}",
        status=ProductStatus(status),
        position=number,
    )


def variant(number: int, product_number: int, *, retired: bool = False) -> Variant:
    return Variant(
        id=f"v{number}",
        product_id=f"p{product_number}",
        sku=f"SKU-{number}",
        price_adjustment=number,
        retired=retired,
        position=number,
    )


@st.composite
def trees(draw: st.DrawFn) -> dict[int, int | None]:
    """The parent of each category, whose number is larger than its parent's."""
    size = draw(st.integers(1, 12))
    return {number: draw(st.none() | st.integers(0, number - 1)) if number else None for number in range(size)}


@given(trees(), st.lists(st.integers(0, 11), max_size=15))
def test_a_category_has_above_and_below_it_what_a_plain_walk_finds(
    parents: dict[int, int | None], homes: list[int]
) -> None:
    products = [product(number, home % len(parents)) for number, home in enumerate(homes)]
    catalogue = Catalogue(1, [category(*pair) for pair in parents.items()], products)
    above: dict[str, set[str]] = {}
    for number, parent in parents.items():
        above[f"c{number}"] = {f"c{number}"} | (set() if parent is None else above[f"c{parent}"])
    for name, path in above.items():
        below = {other for other, its_path in above.items() if name in its_path}
        assert catalogue.ancestors(name) == path
        assert catalogue.subtree(name) == below
        assert catalogue.height(name) == max(len(above[other]) for other in below) - len(path) + 1
        assert list(catalogue.products_under(name)) == [p for p in products if p.category_id in below]
    assert (catalogue.ancestors(None), catalogue.ancestors("none")) == (frozenset(), frozenset())


ROWS: list[Row] = [
    category(1),
    category(2, 1),
    product(1, 2),
    product(2),
    product(3, 1, "draft"),
    variant(1, 1),
    variant(2, 1, retired=True),
    variant(3, 2),
    variant(4, 3),
    Coupon(id="k1", code="TEN", kind="percentage", value=10, position=1),
    Coupon(id="k2", code="FIVE", kind="fixed_amount", value=500, position=2),
]


def everything(catalogue: Catalogue) -> tuple[object, ...]:
    return catalogue.categories, catalogue.products, catalogue.variants, catalogue.items, catalogue.coupons


@given(st.lists(st.tuples(st.sampled_from(ROWS), st.booleans()), max_size=30))
def test_changes_one_after_another_come_to_the_same_as_all_at_once(steps: list[tuple[Row, bool]]) -> None:
    catalogue, present = Catalogue(), dict[str, Row]()
    for version, (row, is_there) in enumerate(steps, start=1):
        before = everything(catalogue)
        later = catalogue.changed(version, [row] if is_there else [], [] if is_there else [row.id])
        assert everything(catalogue) == before
        catalogue = later
        if is_there:
            present[row.id] = row
        else:
            present.pop(row.id, None)
    assert everything(catalogue) == everything(Catalogue().changed(1, present.values()))


def test_what_is_sold_is_the_variants_in_use_of_active_products() -> None:
    catalogue = Catalogue().changed(7, ROWS)
    assert [(item.variant.sku, item.price, item.folded_name) for item in catalogue.items] == [
        ("SKU-1", 101, "strasse 1"),
        ("SKU-3", 103, "strasse 2"),
    ]
    assert catalogue.variant_of_sku("SKU-2") == variant(2, 1, retired=True)
    assert list(catalogue.variants_of("p1")) == [variant(1, 1), variant(2, 1, retired=True)]
    assert catalogue.category_of_slug("s2") == category(2, 1)
    assert (catalogue.product("none"), catalogue.variant("none"), catalogue.rule("none")) == (None, None, None)


@given(st.sets(st.integers(1, 40)), st.integers(1, 7), st.sampled_from([1, 2, 3]))
def test_pages_hold_every_row_that_is_kept_once_and_in_order(positions: set[int], limit: int, divisor: int) -> None:
    rows = [category(position) for position in sorted(positions)]
    found: list[Category] = []
    cursor: str | None = None
    while True:
        some, cursor = page(rows, limit, cursor, lambda row: row.position % divisor == 0)
        found += some
        assert len(some) <= limit
        assert cursor is None or len(some) == limit
        if cursor is None:
            break
    assert found == [row for row in rows if row.position % divisor == 0]


def test_a_page_looks_at_a_bounded_number_of_rows_and_leads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.catalogue.MAX_SCANNED", 10)
    rows = [category(position) for position in range(1, 26)]
    found: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        some, cursor = page(rows, 5, cursor, lambda row: row.position > 22)
        found += [row.position for row in some]
    assert (found, cursor) == ([23, 24, 25], None)


@given(st.lists(st.integers(1, 30), unique=True), st.integers(0, 31))
def test_a_page_starts_right_after_its_position(positions: list[int], place: int) -> None:
    rows = [category(position) for position in sorted(positions)]
    assert [row.position for row in rows[rows_after(rows, place) :]] == [p for p in sorted(positions) if p > place]


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Home Candles", "home-candles"),
        ("  Öl & Essig! ", "ol-essig"),
        ("日本", "category"),
        ("", "category"),
        ("x" * 80, "x" * 64),
    ],
)
def test_a_slug_reads_like_its_name(text: str, slug: str) -> None:
    assert slug_of(text) == slug
