"""Gives every SKU that is sold a variant, and every price a rule, so that a cart line has the price of its row.

A SKU has several prices over time. So a variant's list price is above all of them, and each price is a `sale_price`
rule with a promo code of its own, which stands alone before all others. Both are found again by later runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from benchmarks.books import Counts
from benchmarks.prices import CURRENCY, amount_text
from benchmarks.storefront import ReplayError, Reply, Storefront
from benchmarks.workers import in_order

BRAND = "Order replay"
CODE_PREFIX = "replay-"
FIRST_PRIORITY = -1_000_000
MAX_VARIANTS = 500
WRITERS = 4
SETTLES_S = 1.5
"""Other API processes see a change of the catalogue within a second."""


class Product(Struct, frozen=True):
    """A product as the API lists it."""

    id: str
    base_price: int
    currency: str
    status: str
    brand: str | None


class Variant(Struct, frozen=True):
    """A variant as the API lists it."""

    id: str
    product_id: str
    sku: str
    attributes: dict[str, Any]
    price_adjustment: int


class Rule(Struct, frozen=True):
    """A pricing rule as the API lists it."""

    kind: str
    active: bool
    stacking: str
    priority: int
    price: int | None
    promo_code: str | None
    min_quantity: int | None
    user_tier: str | None
    product_id: str | None
    variant_id: str | None
    category_id: str | None
    starts_at: str | None
    ends_at: str | None

    @property
    def is_of_replays(self) -> bool:
        """Whether it sets the price of whatever is asked for with its code, always and before all others."""
        conditions = (
            self.min_quantity,
            self.user_tier,
            self.product_id,
            self.variant_id,
            self.category_id,
            self.starts_at,
            self.ends_at,
        )
        return (
            (self.kind, self.active, self.stacking, self.priority) == ("sale_price", True, "exclusive", FIRST_PRIORITY)
            and self.promo_code is not None
            and self.promo_code.startswith(CODE_PREFIX)
            and all(condition is None for condition in conditions)
        )


class PriceList(Struct):
    """What a run sells by: the promo code of each price; and what had to be made for it."""

    promo_codes: dict[int, str]
    made: Counter[str]


class CatalogueMaker:
    """Makes what is missing, under keys of one run. Raises ReplayError where the system's own catalogue forbids it."""

    def __init__(self, storefront: Storefront, run: str, told: Callable[[], None]) -> None:
        self._storefront = storefront
        self._run = run
        self._told = told
        self._made: Counter[str] = Counter({"rules": 0, "products": 0, "variants": 0, "variants repriced": 0})

    async def make(self, prices: Mapping[str, set[int]], stock: Mapping[str, Counts]) -> PriceList:
        """A price list for SKUs with their prices in pennies; `stock` is what there is of those that are known.

        What the system's catalogue forbids is found before anything is changed.
        """
        products = {product.id: product for product in await self._storefront.pages("/products", Product)}
        variants = {variant.sku: variant for variant in await self._storefront.pages("/variants", Variant)}
        for sku in sorted(prices.keys() & variants.keys()):
            _judge(variants[sku], products.get(variants[sku].product_id))
        promo_codes = await self._make_rules({price for found in prices.values() for price in found})
        list_prices = {sku: max(found) + 1 for sku, found in prices.items()}
        await self._make_variants(list_prices, products, variants, stock)
        if self._made.total():
            await asyncio.sleep(SETTLES_S)
        return PriceList(promo_codes, self._made)

    async def _make_rules(self, prices: set[int]) -> dict[int, str]:
        rules = await self._storefront.pages("/pricing-rules", Rule)
        codes = {rule.price: rule.promo_code for rule in rules if rule.is_of_replays}
        known = {price: code for price in prices if (code := codes.get(price)) is not None}

        async def make(price: int) -> None:
            code = f"{self._run}-{price}"
            body = {
                "name": f"{BRAND}, {amount_text(price)}",
                "kind": "sale_price",
                "price": price,
                "promo_code": code,
                "stacking": "exclusive",
                "priority": FIRST_PRIORITY,
            }
            await self._change("rules", "POST", "/pricing-rules", body, f"{self._run}:rule:{price}")
            known[price] = code

        await in_order(sorted(prices - known.keys()), make, WRITERS)
        return known

    async def _make_variants(
        self,
        list_prices: Mapping[str, int],
        products: Mapping[str, Product],
        variants: Mapping[str, Variant],
        stock: Mapping[str, Counts],
    ) -> None:
        missing = sorted(list_prices.keys() - variants.keys())
        sizes = Counter(variant.product_id for variant in variants.values())
        places = dict(zip(missing, await self._places(products, sizes, len(missing)), strict=False))

        async def make(sku: str) -> None:
            variant = variants.get(sku)
            if variant is None:
                await self._adopt(sku, places[sku], list_prices[sku], stock.get(sku, Counts()))
            else:
                await self._reprice(variant, products[variant.product_id].base_price, list_prices[sku])
            self._told()

        await in_order(sorted(list_prices), make, WRITERS)

    async def _adopt(self, sku: str, product_id: str, list_price: int, there: Counts) -> None:
        """Make a variant of a SKU; stock that it has already stays as it is."""
        on_hand = there.available + there.reserved
        body = {"product_id": product_id, "sku": sku, "price_adjustment": list_price, "stock_quantity": on_hand}
        await self._change("variants", "POST", "/variants", body, f"{self._run}:variant:{sku}")

    async def _places(self, products: Mapping[str, Product], sizes: Counter[str], wanted: int) -> list[str]:
        """The id of a product with room for one more variant, so many times; products are made as they are needed."""
        ours = (BRAND, 0, CURRENCY, "active")
        places: list[str] = []
        for product in products.values():
            if (product.brand, product.base_price, product.currency, product.status) == ours:
                places += [product.id] * max(0, MAX_VARIANTS - sizes[product.id])
        while len(places) < wanted:
            number = self._made["products"] + 1
            body = {"name": f"{BRAND}, {self._run} {number}", "base_price": 0, "currency": CURRENCY, "brand": BRAND}
            made = await self._change("products", "POST", "/products", body, f"{self._run}:product:{number}")
            places += [str(made.body["id"])] * MAX_VARIANTS
        return places

    async def _reprice(self, variant: Variant, base_price: int, list_price: int) -> None:
        """Raise a list price that is below one of the prices that are to be asked."""
        if base_price + variant.price_adjustment >= list_price:
            return
        body = {
            "product_id": variant.product_id,
            "sku": variant.sku,
            "attributes": variant.attributes,
            "price_adjustment": list_price - base_price,
        }
        await self._change("variants repriced", "PUT", f"/variants/{variant.id}", body, None)

    async def _change(self, what: str, method: str, path: str, body: dict[str, Any], key: str | None) -> Reply:
        reply = await self._storefront.change(method, path, body, key)
        if not reply.is_granted:
            named = body.get("sku") or body.get("name")
            raise ReplayError(f"the API refuses {what} ({named}): {reply.status} {reply.code}")
        self._made[what] += 1
        return reply


def _judge(variant: Variant, product: Product | None) -> None:
    """Raises ReplayError for what cannot be sold for the file's prices."""
    if product is None or product.currency != CURRENCY or product.status != "active":
        reason = "gone" if product is None else f"{product.status}, in {product.currency}"
        raise ReplayError(f"{variant.sku} is the variant of a product that is {reason}: give a --sku-prefix")
