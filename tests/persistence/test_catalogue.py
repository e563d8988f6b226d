"""The catalogue in PostgreSQL: one writer at a time, changes read alone or all together, answers kept for a day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec.structs import replace

from engine.catalogue import Catalogue, CatalogueRow, Category, Product, Variant
from engine.coupons import Coupon
from persistence import categories, coupons, products, variants
from persistence.catalogue import begin_change, load, note_deletion, purge_deletions, read_version
from persistence.idempotency import KeyedChange, Remembered, purge, recall, remember
from persistence.imports import upsert_products
from persistence.pool import Pool, connect

pytestmark = pytest.mark.anyio

ROWS = [
    CatalogueRow("A", "Shirt", 500, "EUR", "Cotton", ("Home", "Shirts"), "shirt", {"size": "S"}),
    CatalogueRow("B", "Shirt", 700, "EUR", None, ("Home", "Shirts"), "shirt", {"size": "L", "n": 1, "ok": True}),
    CatalogueRow("C", "Mug", 900, "EUR"),
]


@pytest.fixture
async def pool(clean_database_url: str) -> AsyncIterator[Pool]:
    opened = await connect(clean_database_url, 4)
    yield opened
    opened.terminate()


def everything(catalogue: Catalogue) -> tuple[object, ...]:
    return catalogue.version, catalogue.categories, catalogue.products, catalogue.variants, catalogue.coupons


async def loaded(pool: Pool, known: Catalogue | None = None) -> Catalogue:
    async with pool.acquire() as connection:
        return await load(connection, known)


async def test_what_changed_since_comes_to_the_same_as_everything(pool: Pool) -> None:
    known = await loaded(pool)
    await upsert_products(pool, ROWS)
    known = await loaded(pool, known)
    assert everything(known) == everything(await loaded(pool))
    assert await loaded(pool, known) is known
    shirt = known.variants_of(known.variants[0].product_id)
    assert [(v.sku, v.price_adjustment, dict(v.attributes)) for v in shirt] == [
        ("A", 0, {"size": "S"}),
        ("B", 200, {"size": "L", "n": 1, "ok": True}),
    ]
    assert [c.slug for c in known.categories] == ["home", "home-shirts"]
    mug = known.variant_of_sku("C")
    assert mug is not None
    async with pool.acquire() as connection, connection.transaction():
        version = await begin_change(connection)
        await variants.delete(connection, mug.id)
        await note_deletion(connection, mug.id, version)
    later = await loaded(pool, known)
    assert later.variant_of_sku("C") is None
    assert everything(later) == everything(await loaded(pool))
    await purge_deletions(pool)
    assert everything(await loaded(pool, known)) == everything(later)


async def test_a_database_put_back_to_an_earlier_time_is_read_anew(pool: Pool) -> None:
    await upsert_products(pool, ROWS)
    future = (await loaded(pool)).changed(10**6, [Category(id="cat_lost", name="Lost", slug="lost")])
    assert everything(await loaded(pool, future)) == everything(await loaded(pool))


async def test_a_large_catalogue_is_loaded_whole(pool: Pool) -> None:
    rows = [CatalogueRow(f"S{i}", f"Thing {i}", i, "EUR", None, (f"C{i % 7}",), f"p{i // 3}") for i in range(999)]
    await upsert_products(pool, rows)
    found = await loaded(pool)
    assert (len(found.items), len(found.products), len(found.categories)) == (999, 333, 7)
    assert [item.price for item in found.items] == list(range(999))
    assert [item.variant.sku for item in found.items] == [row.sku for row in rows]


async def test_writers_take_turns_and_versions_never_go_back(pool: Pool) -> None:
    seen: list[int] = []

    async def write(number: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            version = await begin_change(connection)
            row = Category(id=f"cat_{number}", name="x", slug=f"s-{number}", version=version)
            stored = await categories.insert(connection, row)
            await asyncio.sleep(0.005)
            seen.append(stored.position)
            assert stored.version == version

    await asyncio.gather(*(write(number) for number in range(8)))
    assert seen == sorted(seen)
    catalogue = await loaded(pool)
    by_creation = [row.version for row in catalogue.categories]
    assert by_creation == sorted(set(by_creation))
    assert catalogue.version == by_creation[-1]


async def test_a_change_that_is_rolled_back_leaves_the_version(pool: Pool) -> None:
    async with pool.acquire() as connection:
        before = await read_version(connection)
        transaction = connection.transaction()
        await transaction.start()
        assert await begin_change(connection) == before + 1
        await transaction.rollback()
        assert await read_version(connection) == before


async def test_a_row_is_read_as_it_was_written(pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        version = await begin_change(connection)
        wanted = Product(
            id="prod_1",
            name="Ä 🌳",
            base_price=10**12,
            currency="JPY",
            tags=("a", "b"),
            attributes={"t": "x", "i": -5, "f": 1.5, "b": False},
            version=version,
        )
        product = await products.insert(connection, wanted)
        variant = await variants.insert(
            connection, Variant(id="var_1", product_id="prod_1", sku="A", price_adjustment=-7, version=version)
        )
    catalogue = await loaded(pool)
    assert (catalogue.product("prod_1"), catalogue.variant("var_1")) == (product, variant)
    assert (product.tags, product.attributes) == (wanted.tags, wanted.attributes)


async def test_a_coupon_is_made_changed_and_deleted_before_the_eyes_of_a_second_catalogue(pool: Pool) -> None:
    second = await loaded(pool)
    wanted = Coupon(
        id="coup_1",
        code="Welcome_10",
        kind="fixed_amount",
        value=10**12,
        min_order_value=0,
        usage_limit=10**9,
        per_customer_limit=1,
        applicable_products=("prod_b", "prod_a"),
        starts_ms=1_767_225_600_123,
        ends_ms=1_767_225_600_124,
    )
    async with pool.acquire() as connection, connection.transaction():
        stored = await coupons.insert(connection, replace(wanted, version=await begin_change(connection)))
    second = await loaded(pool, second)
    assert second.coupon("WELCOME_10") == second.coupon_of_id("coup_1") == stored
    told = replace(stored, position=0, version=0, created_ms=0, updated_ms=0)
    assert told == wanted
    plain = Coupon(id="coup_1", code="WELCOME_10", kind="percentage", value=100)
    async with pool.acquire() as connection, connection.transaction():
        updated = await coupons.update(connection, replace(plain, version=await begin_change(connection)))
    second = await loaded(pool, second)
    assert second.coupons == (updated,) == (await loaded(pool)).coupons
    assert replace(updated, position=0, version=0, created_ms=0, updated_ms=0) == plain
    async with pool.acquire() as connection, connection.transaction():
        version = await begin_change(connection)
        await coupons.delete(connection, "coup_1")
        await note_deletion(connection, "coup_1", version)
        again = await coupons.insert(connection, replace(plain, id="coup_2", version=version))
    second = await loaded(pool, second)
    assert second.coupons == (again,)
    assert (second.coupon("welcome_10"), second.coupon_of_id("coup_1")) == (again, None)


async def test_no_two_coupons_have_a_code_that_differs_in_its_case_only(pool: Pool) -> None:
    first = Coupon(id="coup_1", code="Welcome", kind="percentage", value=10)
    async with pool.acquire() as connection:
        await coupons.insert(connection, first)
        with pytest.raises(asyncpg.UniqueViolationError):
            await coupons.insert(connection, replace(first, id="coup_2", code="wELCOME"))


async def test_a_file_told_twice_changes_nothing_the_second_time(pool: Pool) -> None:
    first = await upsert_products(pool, ROWS)
    before = await loaded(pool)
    again = await upsert_products(pool, ROWS)
    assert ((first.created, first.updated), (again.created, again.updated)) == ((3, 0), (0, 0))
    after = await loaded(pool)
    assert everything(after)[1:] == everything(before)[1:]


async def test_a_slug_that_is_taken_gets_a_number(pool: Pool) -> None:
    paths = [("Home",), ("home",), ("Garden", "Home"), ("日本",), ("中国",)]
    await upsert_products(pool, [CatalogueRow(f"S{i}", "x", 1, "EUR", None, path) for i, path in enumerate(paths)])
    slugs = [category.slug for category in (await loaded(pool)).categories]
    assert sorted(slugs) == ["category", "category-2", "garden", "garden-home", "home", "home-2"]


async def test_an_answer_is_kept_with_its_change_and_forgotten_when_it_is_old(pool: Pool) -> None:
    keyed = KeyedChange("client", "create-thing", "key", "print")
    answer = b'{"id":"x","\xc3\xa4":1}'
    async with pool.acquire() as connection:
        assert await recall(connection, keyed) is None
        await remember(connection, keyed, 201, answer, '"7"')
        await purge(pool, 3_600)
        assert await recall(connection, keyed) == Remembered("print", 201, answer, '"7"')
        assert await recall(connection, KeyedChange("client", "other", "key", "print")) is None
        await purge(pool, 0)
        assert await recall(connection, keyed) is None
