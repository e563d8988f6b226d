"""The demo's rules and coupons: what they make of its prices, and that they leave everything else alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from cli.demo import CANDLE_SKU, DROP_SKU, _make_offers, demo_rows, load_demo
from engine.catalogue import Catalogue, CatalogueRow
from engine.coupons import CouponLine, Objection, discount_of
from engine.pricing import Price
from engine.quotes import quote
from engine.settings import Settings
from jobs.resources import Resources, open_resources
from persistence.catalogue import load
from persistence.imports import upsert_products

T = TypeVar("T")


@pytest.fixture
def settings(clean_redis_url: str, clean_database_url: str) -> Settings:
    return Settings(redis_url=clean_redis_url, database_url=clean_database_url)


def within(settings: Settings, work: Callable[[Resources], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with open_resources(settings) as resources:
            return await work(resources)

    return asyncio.run(ask())


async def catalogue_of(resources: Resources) -> Catalogue:
    async with resources.pool.acquire() as connection:
        return await load(connection)


def priced(catalogue: Catalogue, sku: str, quantity: int, tier: str | None = None, code: str | None = None) -> Price:
    variant = catalogue.variant_of_sku(sku)
    assert variant is not None
    product = catalogue.product(variant.product_id)
    assert product is not None
    now_ms = int(time.time() * 1000)
    return quote(catalogue, product, variant, quantity=quantity, user_tier=tier, promo_code=code, at_ms=now_ms)


def test_the_demos_rules_price_what_they_are_for_and_one_unit_for_anybody_costs_what_it_says(
    settings: Settings,
) -> None:
    asyncio.run(load_demo(settings))
    catalogue = within(settings, catalogue_of)
    for row in demo_rows():
        told = row.catalogue
        assert priced(catalogue, told.sku, 1).final_price == told.price_minor
    assert priced(catalogue, "TEE-BLACK-M", 10).final_price == 2_610
    assert priced(catalogue, "TEE-BLACK-XL", 10, "GOLD").final_price == 3_200 - 320 - 160
    assert priced(catalogue, "TEE-BLACK-M", 1, "gold").final_price == 2_755
    assert priced(catalogue, "LAMP-OAK", 1, None, "Lantern").final_price == 10_400
    assert priced(catalogue, CANDLE_SKU, 3).total_price == 1_467 * 3
    assert priced(catalogue, DROP_SKU, 10, "GOLD", "LANTERN").discount == 0


def test_the_demos_coupons_take_off_what_their_names_promise(settings: Settings) -> None:
    asyncio.run(load_demo(settings))
    catalogue = within(settings, catalogue_of)
    percent, first, candles = (catalogue.coupon(code) for code in ("ahoy10", "harbour-first-100", "candlelight"))
    assert percent is not None and first is not None and candles is not None
    assert (percent.per_customer_limit, first.usage_limit) == (1, 100)
    candle = catalogue.variant_of_sku(CANDLE_SKU)
    assert candle is not None
    lines = [CouponLine("prod_other", 2_999), CouponLine(candle.product_id, 2_200)]
    assert [discount_of(coupon, lines, 0) for coupon in (percent, first, candles)] == [520, 500, 440]
    assert discount_of(first, lines[:1], 0) is Objection.MINIMUM_NOT_REACHED
    assert discount_of(candles, lines[:1], 0) is Objection.NOTHING_APPLICABLE
    assert len({coupon.id for coupon in catalogue.coupons}) == len(catalogue.coupons) == 3


def test_what_is_not_of_the_demo_keeps_its_price_whoever_buys_however_much(settings: Settings) -> None:
    asyncio.run(load_demo(settings))

    async def work(resources: Resources) -> Catalogue:
        await upsert_products(resources.pool, [CatalogueRow("OTHER", "Other", 55_000, "EUR", None, ("Else",))])
        return await catalogue_of(resources)

    catalogue = within(settings, work)
    assert priced(catalogue, "OTHER", 100, "GOLD", "LANTERN").final_price == 55_000


def test_a_start_that_was_cut_off_before_the_stock_is_taken_up_again(settings: Settings) -> None:
    async def cut_off(resources: Resources) -> Catalogue:
        await upsert_products(resources.pool, [row.catalogue for row in demo_rows()])
        await _make_offers(resources.pool)
        return await catalogue_of(resources)

    before = within(settings, cut_off)
    assert asyncio.run(load_demo(settings)) == len(demo_rows())
    after = within(settings, catalogue_of)
    assert (after.rules, after.coupons, after.variants) == (before.rules, before.coupons, before.variants)
