"""The demo catalogue: a small shop with one limited drop, for a system that has no stock at all."""

from __future__ import annotations

from cli.catalogue_import import import_rows, open_warehouse
from cli.catalogue_rows import StockedRow
from engine.catalogue import CatalogueRow
from engine.settings import Settings

CURRENCY = "EUR"
DROP_SKU = "DROP-001"

# sku, name, category, description, price in cents, units, units that one customer may have
_SHOP: tuple[tuple[str, str, str, str, int, int, int | None], ...] = (
    (DROP_SKU, "Aurora Sneaker, first edition", "Drops", "A thousand pairs, two to a customer.", 18_900, 1_000, 2),
    ("TEE-BLACK-S", "Harbour T-shirt, black, S", "Clothing", "Heavy organic cotton.", 2_900, 240, None),
    ("TEE-BLACK-M", "Harbour T-shirt, black, M", "Clothing", "Heavy organic cotton.", 2_900, 420, None),
    ("TEE-BLACK-L", "Harbour T-shirt, black, L", "Clothing", "Heavy organic cotton.", 2_900, 360, None),
    ("HOODIE-SAND-M", "Dune hoodie, sand, M", "Clothing", "Brushed inside, boxy cut.", 6_900, 150, None),
    ("CAP-NAVY", "Sailor's cap, navy", "Clothing", "Waxed cotton; one size.", 3_400, 200, None),
    ("SOCKS-3", "Merino socks, three pairs", "Clothing", "Sizes 39 to 42.", 2_400, 500, None),
    ("MUG-BLUE", "Enamel mug, blue", "Home", "Holds 350 ml and any fall.", 1_450, 800, None),
    ("LAMP-OAK", "Desk lamp, oak", "Home", "Dimmable, two metres of cable.", 11_900, 60, None),
    ("CANDLE-FIR", "Candle, fir and smoke", "Home", "Burns for forty hours.", 2_200, 300, None),
    ("POSTER-A2", "Poster of the first edition, A2", "Drops", "Numbered; one to a customer.", 4_500, 250, 1),
    ("GIFT-WRAP", "Gift wrapping", "Service", "Paper, ribbon and a card.", 0, 5_000, None),
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
        StockedRow(CatalogueRow(sku, name, price_minor, CURRENCY, description, category), quantity, limit)
        for sku, name, category, description, price_minor, quantity, limit in _SHOP
    ]
