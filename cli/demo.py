"""The demo catalogue: a small shop with one limited drop, for a system that has no stock at all."""

from __future__ import annotations

from msgspec import Struct

from cli.catalogue_import import import_rows, open_warehouse
from cli.catalogue_rows import StockedRow
from engine.catalogue import AttributeValue, CatalogueRow
from engine.settings import Settings

CURRENCY = "EUR"
DROP_SKU = "DROP-001"

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


async def load_demo(settings: Settings) -> int:
    """Import the demo if there is no stock at all; returns the number of SKUs created, 0 where there was any."""
    async with open_warehouse(settings) as warehouse:
        if (await warehouse.shard.stock_page(None, 1)).levels:
            return 0
        return (await import_rows(warehouse, demo_rows())).created


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
