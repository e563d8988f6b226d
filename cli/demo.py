"""The demo catalogue: a small shop with one limited drop, rules and coupons, for a system that has no stock at all."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from cli.catalogue_rows import StockedRow
from cli.catalogue_writer import import_rows
from engine.catalogue import AttributeValue, Catalogue, CatalogueRow
from engine.coupons import COUPON_PREFIX, Coupon
from engine.errors import HoldfastError
from engine.idempotency import fresh_token
from engine.pricing import RULE_PREFIX, Rule
from engine.settings import Settings
from jobs.resources import open_resources
from persistence import coupons, pricing_rules
from persistence.catalogue import begin_change, load_up_to
from persistence.imports import upsert_products
from persistence.pool import Pool

CURRENCY = "EUR"
DROP_SKU = "DROP-001"
CANDLE_SKU = "CANDLE-FIR"

COTTON, CANDLE = "Heavy organic cotton.", "Burns for forty hours."


class Demo(Struct, frozen=True):
    """A SKU of the demo: price in cents, units, and the units that one customer may have."""

    sku: str
    name: str
    category: str
    description: str
    price: int
    quantity: int
    customer_limit: int | None = None
    product: str | None = None
    attributes: dict[str, AttributeValue] = {}


_SHOP = (
    Demo(DROP_SKU, "Aurora Sneaker, first edition", "Drops", "A thousand pairs, two to a customer.", 18_900, 1_000, 2),
    *(
        Demo(
            f"TEE-{colour[:5].upper()}-{size}",
            "Harbour T-shirt",
            "Clothing/T-shirts",
            COTTON,
            2_900 + (300 if size == "XL" else 0),
            quantity,
            product="harbour-t-shirt",
            attributes={"colour": colour, "size": size},
        )
        for colour, size, quantity in (
            ("black", "S", 240),
            ("black", "M", 420),
            ("black", "L", 360),
            ("black", "XL", 120),
            ("white", "M", 300),
            ("white", "L", 280),
        )
    ),
    Demo("HOODIE-SAND-M", "Dune hoodie, sand, M", "Clothing/Hoodies", "Brushed inside, boxy cut.", 6_900, 150),
    Demo("CAP-NAVY", "Sailor's cap, navy", "Clothing/Accessories", "Waxed cotton; one size.", 3_400, 200),
    Demo("SOCKS-3", "Merino socks, three pairs", "Clothing/Accessories", "Sizes 39 to 42.", 2_400, 500),
    Demo("MUG-BLUE", "Enamel mug, blue", "Home/Kitchen", "Holds 350 ml and any fall.", 1_450, 800),
    Demo("LAMP-OAK", "Desk lamp, oak", "Home/Lamps", "Dimmable, two metres of cable.", 11_900, 60),
    *(
        Demo(
            f"CANDLE-{scent.split()[0].upper()}",
            "Candle",
            "Home/Candles",
            CANDLE,
            price,
            quantity,
            product="candle",
            attributes={"scent": scent, "hours": 40},
        )
        for scent, price, quantity in (("fir and smoke", 2_200, 300), ("sea salt", 2_200, 260), ("amber", 2_600, 90))
    ),
    Demo("POSTER-A2", "Poster of the first edition, A2", "Drops", "Numbered; one to a customer.", 4_500, 250, 1),
    Demo("GIFT-WRAP", "Gift wrapping", "Service", "Paper, ribbon and a card.", 0, 5_000),
)


# Each rule under the category that it is for, so that none touches what is not of the demo.
_RULES = {
    "Clothing/T-shirts": Rule(id="", name="Five T-shirts or more", kind="bulk", min_quantity=5, percent=10),
    "Clothing": Rule(id="", name="Gold members, clothing", kind="tier", user_tier="GOLD", percent=5),
    "Home/Lamps": Rule(id="", name="Lantern festival", kind="promo", promo_code="LANTERN", amount=1_500),
    "Home/Candles": Rule(id="", name="Three candles for two", kind="buy_x_get_y", buy_quantity=2, get_quantity=1),
}

# Codes that nobody picks for a first coupon of their own.
_COUPONS = (
    Coupon(id="", code="AHOY10", kind="percentage", value=10, per_customer_limit=1),
    Coupon(id="", code="HARBOUR-FIRST-100", kind="fixed_amount", value=500, usage_limit=100, min_order_value=3_000),
)
_CANDLE_COUPON = Coupon(id="", code="CANDLELIGHT", kind="percentage", value=20)


async def load_demo(settings: Settings) -> int:
    """Import the demo if there is no stock at all; returns the number of SKUs created, 0 where there was any.

    Stock comes last, so that a start that was cut off before it begins anew.
    """
    async with open_resources(settings) as resources:
        if (await resources.shard.stock_page(None, 1)).levels:
            return 0
        rows = demo_rows()
        await upsert_products(resources.pool, [row.catalogue for row in rows])
        await _make_offers(resources.pool)
        return (await import_rows(resources, rows)).created


async def _make_offers(pool: Pool) -> None:
    """Make the demo's rules and coupons in one change, unless the catalogue has any of its own."""
    async with pool.acquire() as connection, connection.transaction():
        version = await begin_change(connection)
        catalogue = await load_up_to(connection, version - 1, None)
        if catalogue.rules or catalogue.coupons:
            return
        for path, rule in _RULES.items():
            category_id = _category_id(catalogue, path)
            made = replace(rule, id=RULE_PREFIX + fresh_token(), category_id=category_id, version=version)
            await pricing_rules.insert(connection, made)
        candles = replace(_CANDLE_COUPON, applicable_products=(_product_id(catalogue, CANDLE_SKU),))
        for coupon in (*_COUPONS, candles):
            await coupons.insert(connection, replace(coupon, id=COUPON_PREFIX + fresh_token(), version=version))


def _category_id(catalogue: Catalogue, path: str) -> str:
    place: str | None = None
    for name in path.split("/"):
        of_name = (
            category.id for category in catalogue.categories if (category.parent_id, category.name) == (place, name)
        )
        place = next(of_name, None)
    if place is None:
        raise HoldfastError(f"the demo has no category {path}")
    return place


def _product_id(catalogue: Catalogue, sku: str) -> str:
    variant = catalogue.variant_of_sku(sku)
    if variant is None:
        raise HoldfastError(f"the demo has no {sku}")
    return variant.product_id


def demo_rows() -> list[StockedRow]:
    """The demo's rows, as if they had been read from a file."""
    return [
        StockedRow(
            CatalogueRow(
                sku=demo.sku,
                name=demo.name,
                price_minor=demo.price,
                currency=CURRENCY,
                description=demo.description,
                category=tuple(demo.category.split("/")),
                product=demo.product,
                attributes=demo.attributes,
            ),
            demo.quantity,
            demo.customer_limit,
        )
        for demo in _SHOP
    ]
