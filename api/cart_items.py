"""The lines of a cart over HTTP. The functions judge; the routes follow."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, delete, post, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from api.access.authentication import Caller, allow
from api.carts import CART_PATH, CHANGING, CartView, NamedCustomer, keyed, outcome_of, token_of
from api.holds import CustomerId, Quantity
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problem, problems
from api.messages.refusals import refused
from api.messages.replies import Reply, respond
from api.messages.requests import ApiRequest
from api.pricing_rules import PromoCode, Tier
from api.process.resources import Resources
from api.variants import VariantId
from engine import cart_lines
from engine.carts import Cart, CartRecord, Scene
from engine.catalogue import Catalogue, Variant
from engine.holds import MAX_QUANTITY
from engine.plans import Plan
from engine.refusals import Refusal, Refused
from engine.stock import Sku


class ItemRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Units for a cart, named by `sku` or by `variant_id`; `user_tier` and `promo_code` may make them cheaper."""

    sku: Sku | None = None
    variant_id: VariantId | None = None
    quantity: Quantity
    user_tier: Tier | None = None
    promo_code: PromoCode | None = None
    customer_id: CustomerId | None = None


class QuantityRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How many units the line shall have; 0 removes it."""

    quantity: Annotated[int, Meta(ge=0, le=MAX_QUANTITY, description="Units", examples=[2])]
    customer_id: CustomerId | None = None


ITEM_EXAMPLE = {"sku": "85123A", "quantity": 6, "user_tier": "GOLD"}


async def add(
    resources: Resources, caller: Caller, key: str | None, cart_id: str, body: ItemRequest
) -> Reply | Problem:
    """Put units into a cart. Raises Unavailable."""
    await caller.charge_customer(body.customer_id)
    token = token_of(cart_id)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_CART))
    if (body.sku is None) == (body.variant_id is None):
        return invalid("sku", "name what to add by sku or by variant_id")
    catalogue = await resources.catalogue.current()
    variant = _find(catalogue, body)
    product = None if variant is None else catalogue.product(variant.product_id)
    named = keyed(caller, "add-item", key, cart_id, body)

    def judge(scene: Scene, name: str, record: CartRecord) -> Plan[Cart] | Refused:
        if variant is None or product is None:
            return Refused(Refusal.UNKNOWN_SKU, skus=(body.sku or "",))
        wanted = cart_lines.Wanted(variant, product, body.quantity, body.user_tier, body.promo_code)
        return cart_lines.add(scene, name, record, wanted)

    answer = await resources.desk.change_cart(catalogue, token, judge, body.customer_id, named)
    if isinstance(answer, Refused) and answer.refusal is Refusal.UNKNOWN_SKU:
        return _unknown(body)
    return outcome_of(resources, "add", answer)


async def set_quantity(
    resources: Resources, caller: Caller, cart_id: str, sku: str, quantity: int, customer_id: str | None
) -> Reply | Problem:
    """Set how many units a line has. Raises Unavailable."""
    await caller.charge_customer(customer_id)
    token = token_of(cart_id)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_CART))
    answer = await resources.desk.change_cart(
        await resources.catalogue.current(),
        token,
        lambda scene, name, record: cart_lines.set_quantity(scene, name, record, sku, quantity),
        customer_id,
    )
    return outcome_of(resources, "set", answer)


def _find(catalogue: Catalogue, body: ItemRequest) -> Variant | None:
    if body.sku is not None:
        return catalogue.variant_of_sku(body.sku)
    return catalogue.variant(body.variant_id or "")


def _unknown(body: ItemRequest) -> Problem:
    if body.variant_id is not None:
        return problem("unknown-variant", f"There is no variant {body.variant_id}.")
    return problem("unknown-sku", f"The catalogue has no {body.sku}.")


TOUCHING = (
    *CHANGING,
    "insufficient-stock",
    "customer-limit-exceeded",
    "product-discontinued",
)


class CartItemRoutes(Controller):
    """The lines of a cart over HTTP."""

    path = f"{CART_PATH}/{{cart_id:str}}/items"
    tags = ("Carts",)

    @post(
        "/",
        status_code=200,
        opt={**allow("storefront"), "idempotency": "optional"},
        summary="Add to a cart",
        responses=problems(*TOUCHING, "unknown-sku", "unknown-variant", "cart-full", "currency-mismatch"),
    )
    async def add_item(
        self, request: ApiRequest, cart_id: FromPath[str], data: JSONBody[ItemRequest]
    ) -> Response[CartView]:
        """Add units, reserved at once and at the price of this moment; more of what is there makes one line of both."""
        outcome = await add(request.resources, request.caller, request.idempotency_key, cart_id, data)
        return respond(outcome, request.path)

    @put(
        "/{sku:str}",
        opt=allow("storefront"),
        summary="Set a line's quantity",
        responses=problems(*TOUCHING, "unknown-cart-item", "unknown-sku", "currency-mismatch"),
    )
    async def set_item(
        self, request: ApiRequest, cart_id: FromPath[str], sku: FromPath[str], data: JSONBody[QuantityRequest]
    ) -> Response[CartView]:
        """Set how many units the line has: fewer give the rest back at once, 0 removes it, and an expired line is
        reserved again.
        """
        outcome = await set_quantity(request.resources, request.caller, cart_id, sku, data.quantity, data.customer_id)
        return respond(outcome, request.path)

    @delete(
        "/{sku:str}",
        status_code=200,
        opt=allow("storefront"),
        summary="Remove a line",
        responses=problems(
            *PROTECTED_CODES,
            "unknown-cart",
            "unknown-cart-item",
            "cart-ordered",
            "cart-merged",
            "payment-pending",
        ),
    )
    async def remove_item(
        self, request: ApiRequest, cart_id: FromPath[str], sku: FromPath[str], customer_id: NamedCustomer = None
    ) -> Response[CartView]:
        """Remove the line; its units are given back at once."""
        outcome = await set_quantity(request.resources, request.caller, cart_id, sku, 0, customer_id)
        return respond(outcome, request.path)
