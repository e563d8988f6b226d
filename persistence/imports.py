"""Imports: rows of a file become categories, products and variants, a set at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import asyncpg
import msgspec
from msgspec import Struct

from engine.catalogue import (
    CATEGORY_PREFIX,
    MAX_SLUG_LENGTH,
    PRODUCT_PREFIX,
    VARIANT_PREFIX,
    CatalogueChanges,
    CatalogueRow,
    Category,
    slug_of,
)
from engine.errors import HoldfastError
from engine.idempotency import fresh_token
from persistence import categories
from persistence.catalogue import begin_change
from persistence.pool import Connection, Pool
from persistence.products import encode_attributes
from persistence.sql import queries


class OtherCurrency(HoldfastError):
    """A row would change the currency of variants that no row speaks of."""


class _Plan(Struct):
    """What the rows come to; a product's first row speaks for it."""

    new_products: dict[str, CatalogueRow] = msgspec.field(default_factory=dict)
    told_products: dict[str, CatalogueRow] = msgspec.field(default_factory=dict)
    base_prices: dict[str, int] = msgspec.field(default_factory=dict)
    new_variants: list[tuple[str, CatalogueRow]] = msgspec.field(default_factory=list)
    told_variants: list[tuple[str, str, CatalogueRow]] = msgspec.field(default_factory=list)


async def upsert_products(pool: Pool, rows: Sequence[CatalogueRow]) -> CatalogueChanges:
    """Make or bring up to date the variant of each row's SKU, and its product, all in one transaction.

    A SKU that has a variant stays with its product. A new one joins the product that the row names, or gets one of its
    own. A product that has, or may get, several variants keeps the base price of its first row, so that the price of a
    variant that no row speaks of never moves. Each SKU may be there once. Doing it again changes nothing. Raises
    OtherCurrency for another currency than such a variant's, and asyncpg's errors.
    """
    if not rows:
        return CatalogueChanges(0, 0)
    async with pool.acquire() as connection, connection.transaction():
        version = await begin_change(connection)
        places = await _categories(connection, rows, version)
        plan = await _plan(connection, rows)
        await _insert(connection, plan, places, version)
        changed = await _update(connection, plan, places, version)
    return CatalogueChanges(len(plan.new_variants), len(changed))


async def _plan(connection: Connection, rows: Sequence[CatalogueRow]) -> _Plan:
    sql = queries("imports")
    found = await connection.fetch(sql["find_variants"], [row.sku for row in rows])
    variants = {row["sku"]: row for row in found}
    handles = [row.product for row in rows if row.product is not None]
    products = await connection.fetch(sql["find_products"], [row["product_id"] for row in found], handles)
    of_handle = {row["handle"]: row["id"] for row in products if row["handle"] is not None}
    shared = {row["id"] for row in products if row["handle"] is not None or row["variants"] > 1}
    plan = _Plan(base_prices={row["id"]: row["base_price"] for row in products})
    for row in rows:
        variant = variants.get(row.sku)
        if variant is not None:
            product_id = variant["product_id"]
            if product_id not in shared:
                plan.base_prices[product_id] = row.price_minor
            plan.told_variants.append((variant["id"], product_id, row))
        else:
            known = None if row.product is None else of_handle.get(row.product)
            product_id = known or PRODUCT_PREFIX + fresh_token()
            if known is None:
                plan.new_products[product_id] = row
                plan.base_prices[product_id] = row.price_minor
                if row.product is not None:
                    of_handle[row.product] = product_id
            plan.new_variants.append((product_id, row))
        if product_id not in plan.new_products:
            plan.told_products.setdefault(product_id, row)
    _refuse_other_currency(plan, products)
    return plan


def _refuse_other_currency(plan: _Plan, products: Sequence[asyncpg.Record]) -> None:
    """Raise OtherCurrency where a product would get another currency, with variants whose price no row speaks of."""
    told = Counter(product_id for _, product_id, _ in plan.told_variants)
    for product in products:
        row = plan.told_products.get(product["id"])
        if row is not None and row.currency != product["currency"] and told[product["id"]] < product["variants"]:
            raise OtherCurrency(
                f"{row.sku} is told in {row.currency}, but its product has other variants, and is sold in "
                f"{product['currency']}: import its rows in that currency, or all of its variants in rows that follow "
                "each other; the rows before it are in"
            )


async def _insert(connection: Connection, plan: _Plan, places: dict[tuple[str, ...], str], version: int) -> None:
    sql = queries("imports")
    products = plan.new_products
    await connection.execute(
        sql["insert_products"],
        version,
        list(products),
        [row.name for row in products.values()],
        [row.description for row in products.values()],
        [row.price_minor for row in products.values()],
        [row.currency for row in products.values()],
        [places.get(row.category) for row in products.values()],
        [row.product for row in products.values()],
    )
    await connection.execute(
        sql["insert_variants"],
        version,
        [VARIANT_PREFIX + fresh_token() for _ in plan.new_variants],
        [product_id for product_id, _ in plan.new_variants],
        [row.sku for _, row in plan.new_variants],
        [encode_attributes(row.attributes) for _, row in plan.new_variants],
        [row.price_minor - plan.base_prices[product_id] for product_id, row in plan.new_variants],
    )


async def _update(connection: Connection, plan: _Plan, places: dict[tuple[str, ...], str], version: int) -> set[str]:
    """Ids of the products that changed, themselves or in a variant."""
    sql = queries("imports")
    products = plan.told_products
    changed = await connection.fetch(
        sql["update_products"],
        version,
        list(products),
        [row.name for row in products.values()],
        [row.description for row in products.values()],
        [plan.base_prices[product_id] for product_id in products],
        [row.currency for row in products.values()],
        [places.get(row.category) for row in products.values()],
    )
    changed_variants = await connection.fetch(
        sql["update_variants"],
        version,
        [variant_id for variant_id, _, _ in plan.told_variants],
        [encode_attributes(row.attributes) if row.attributes else None for _, _, row in plan.told_variants],
        [row.price_minor - plan.base_prices[product_id] for _, product_id, row in plan.told_variants],
    )
    return {row["id"] for row in changed} | {row["product_id"] for row in changed_variants}


async def _categories(connection: Connection, rows: Iterable[CatalogueRow], version: int) -> dict[tuple[str, ...], str]:
    """The category of each path of names, made where it is missing."""
    paths = {row.category for row in rows if row.category}
    if not paths:
        return {}
    known = await categories.list_since(connection, -1)
    of_name = {(category.parent_id, category.name): category.id for category in known}
    slugs = {category.slug for category in known}
    places: dict[tuple[str, ...], str] = {}
    for path in sorted(paths):
        parent: str | None = None
        for depth, name in enumerate(path, start=1):
            found = of_name.get((parent, name))
            if found is None:
                slug = _free_slug(slug_of(" ".join(path[:depth])), slugs)
                wanted = Category(
                    id=CATEGORY_PREFIX + fresh_token(), name=name, slug=slug, parent_id=parent, version=version
                )
                await categories.insert(connection, wanted)
                slugs.add(slug)
                found = of_name[parent, name] = wanted.id
            parent = found
        if parent is not None:
            places[path] = parent
    return places


def _free_slug(wanted: str, taken: set[str]) -> str:
    slug, number = wanted, 1
    while slug in taken:
        number += 1
        end = f"-{number}"
        slug = wanted[: MAX_SLUG_LENGTH - len(end)] + end
    return slug
