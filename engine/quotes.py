"""Quotes: the price of something in the catalogue, for so many, for whom and when."""

from __future__ import annotations

from engine.catalogue import Catalogue, Product, Variant
from engine.pricing import Price, PriceQuestion, price, undiscounted


def quote(
    catalogue: Catalogue,
    product: Product,
    variant: Variant | None,
    *,
    quantity: int,
    user_tier: str | None,
    promo_code: str | None,
    at_ms: int,
) -> Price:
    """The price by the catalogue's rules; of the product itself where no variant is named."""
    unit_price = product.base_price + (0 if variant is None else variant.price_adjustment)
    if not catalogue.rules:
        return undiscounted(unit_price, quantity)
    question = PriceQuestion(
        unit_price=unit_price,
        product_id=product.id,
        variant_id=None if variant is None else variant.id,
        category_ids=catalogue.ancestors(product.category_id),
        quantity=quantity,
        user_tier=user_tier,
        promo_code=promo_code,
        at_ms=at_ms,
    )
    return price(question, catalogue.rule_index.candidates(question))
