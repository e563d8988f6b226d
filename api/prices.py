"""Prices over HTTP: what a product costs for whom, how many, when, and why."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

from litestar import Response, Router, get
from litestar.params import FromPath, QueryParameter
from msgspec import Meta, Struct

from api.access.authentication import allow
from api.categories import MAX_ID_LENGTH
from api.messages.errors import PROTECTED_CODES, Problem, problem, problems
from api.messages.replies import Reply, respond
from api.messages.requests import ApiRequest
from api.messages.windows import read_instant
from api.pricing_rules import MAX_WORD_LENGTH
from api.process.resources import Resources
from api.variants import unknown_product
from engine.holds import MAX_QUANTITY
from engine.pricing import Kind, Price
from engine.quotes import quote
from persistence.moments import ms_of

UnitPrice = Annotated[int, Meta(ge=0, description="Of one unit, in minor units")]


class AppliedRuleView(Struct, frozen=True):
    """What one rule takes off a unit, in minor units."""

    rule_id: Annotated[str, Meta(examples=["rule_3q2-7wEAAAAAAAAAAAAAAA"])]
    name: Annotated[str, Meta(examples=["Bulk, 5 and more"])]
    kind: Kind
    discount: Annotated[int, Meta(ge=0, examples=[5500])]


class PriceView(Struct, frozen=True):
    """A price: `unit_price = list_price - discount` for one unit, `total_price` for all of them."""

    unit_price: Annotated[UnitPrice, Meta(examples=[49_500])]
    total_price: Annotated[int, Meta(ge=0, examples=[495_000])]
    currency: Annotated[str, Meta(examples=["EUR"])]
    list_price: Annotated[UnitPrice, Meta(description="Of one unit before any rule", examples=[55_000])]
    discount: Annotated[int, Meta(ge=0, description="Off one unit, the sum of what the rules take", examples=[5_500])]
    applied_rules: list[AppliedRuleView]


class Asked(Struct, frozen=True):
    """What a price is asked for."""

    variant_id: str | None
    quantity: int
    user_tier: str | None
    promo_code: str | None
    at: datetime | None


async def show(resources: Resources, product_id: str, asked: Asked) -> Reply | Problem:
    """The price of a product, or of one of its variants. Raises Unavailable."""
    catalogue = await resources.catalogue.current()
    product = catalogue.product(product_id)
    if product is None:
        return unknown_product(product_id)
    variant = None
    if asked.variant_id is not None:
        variant = catalogue.variant(asked.variant_id)
        if variant is None or variant.product_id != product_id:
            return problem("unknown-variant", f"This product has no variant {asked.variant_id[:MAX_ID_LENGTH]}.")
    found = quote(
        catalogue,
        product,
        variant,
        quantity=asked.quantity,
        user_tier=asked.user_tier,
        promo_code=asked.promo_code,
        at_ms=int(time.time() * 1000) if asked.at is None else ms_of(asked.at),
    )
    return Reply(200, view(found, product.currency))


def view(found: Price, currency: str) -> PriceView:
    """A price as clients see it."""
    return PriceView(
        unit_price=found.final_price,
        total_price=found.total_price,
        currency=currency,
        list_price=found.unit_price,
        discount=found.discount,
        applied_rules=[
            AppliedRuleView(applied.rule_id, applied.name, applied.kind, applied.discount)
            for applied in found.applied_rules
        ],
    )


@get(
    "/api/v1/products/{product_id:str}/price",
    opt=allow("storefront"),
    summary="Price a product",
    responses=problems(*PROTECTED_CODES, "unknown-product", "unknown-variant"),
)
async def show_price(
    request: ApiRequest,
    product_id: FromPath[str],
    variant_id: Annotated[
        str | None, QueryParameter(max_length=MAX_ID_LENGTH, description="One of its variants")
    ] = None,
    quantity: Annotated[int, QueryParameter(ge=1, le=MAX_QUANTITY, description="Units")] = 1,
    user_tier: Annotated[str | None, QueryParameter(max_length=MAX_WORD_LENGTH, description="Such as GOLD")] = None,
    promo_code: Annotated[str | None, QueryParameter(max_length=MAX_WORD_LENGTH, description="Such as SPRING")] = None,
    at: Annotated[str | None, QueryParameter(format="date-time", description="RFC 3339; now unless told")] = None,
) -> Response[PriceView]:
    """What it costs for so many, for this tier and code, at this time, and which rules make it so."""
    asked = Asked(variant_id, quantity, user_tier, promo_code, None if at is None else read_instant("at", at))
    return respond(await show(request.resources, product_id, asked), request.path)


router = Router("/", route_handlers=[show_price], tags=["Prices"])
