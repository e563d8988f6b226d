"""Checkout over HTTP: a cart becomes an order, all of it or nothing. The function judges; the routes follow."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Response, Router, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from api.access.authentication import Caller, allow
from api.carts import CART_PATH, CHANGING, CartId, token_of
from api.holds import CustomerId
from api.messages.errors import Problem, invalid, problems
from api.messages.refusals import refused
from api.messages.replies import Reply, respond
from api.messages.requests import ApiRequest
from api.orders import OrderView, view
from api.process.resources import Resources
from engine.checkout import CheckoutRequest
from engine.idempotency import derive_token, fingerprint, generations, now_ms
from engine.refusals import Refusal, Refused

PaymentChoice = Annotated[
    Literal["captured", "pending"],
    Meta(description="`captured`: paid already; `pending`: the units are firmly held until the payment settles"),
]


class CartCheckout(Struct, frozen=True, forbid_unknown_fields=True):
    """How a cart is ordered; a guest's cart may be ordered for a customer."""

    customer_id: CustomerId | None = None
    payment: PaymentChoice = "captured"
    cart_id: CartId | None = None


class Checkout(Struct, frozen=True, forbid_unknown_fields=True):
    """Which cart is ordered, and how; a guest's cart may be ordered for a customer."""

    cart_id: CartId
    customer_id: CustomerId | None = None
    payment: PaymentChoice = "captured"


async def check_out(
    resources: Resources, caller: Caller, key: str, cart_id: str, body: CartCheckout | Checkout
) -> Reply | Problem:
    """Make an order of a cart. Raises Unavailable."""
    await caller.charge_customer(body.customer_id)
    token = token_of(cart_id)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_CART))
    if body.cart_id is not None and body.cart_id != cart_id:
        return invalid("cart_id", "is another cart than the path names")
    name = derive_token(caller.client, "checkout", key)
    order_token, also = generations(name, now_ms(), resources.settings.retention_s)
    request = CheckoutRequest(
        tokens=(order_token, *also),
        fingerprint=fingerprint((cart_id, body.customer_id, body.payment)),
        customer_id=body.customer_id,
        is_pending=body.payment == "pending",
    )
    answer = await resources.desk.check_out(await resources.catalogue.current(), token, request)
    if isinstance(answer, Refused):
        resources.metrics.count_order("checkout", answer.refusal)
        return refused(answer)
    resources.metrics.count_order("checkout", "replayed" if answer.replayed else "done")
    return Reply(201, view(answer.value), replayed=answer.replayed)


CHECKING_OUT = problems(
    *CHANGING,
    "idempotency-key-required",
    "cart-empty",
    "hold-expired",
    "insufficient-stock",
    "customer-limit-exceeded",
    "product-discontinued",
    "currency-mismatch",
    "price-changed",
    "coupon-not-applicable",
    "coupon-limit-reached",
)
AS_USUAL = CartCheckout()


@post(
    f"{CART_PATH}/{{cart_id:str}}/checkout",
    status_code=201,
    opt={**allow("storefront"), "idempotency": "required", "body": "optional"},
    summary="Check a cart out",
    responses=CHECKING_OUT,
)
async def check_out_cart(
    request: ApiRequest, cart_id: FromPath[str], data: JSONBody[CartCheckout] = AS_USUAL
) -> Response[OrderView]:
    """Order the cart, all of it or nothing: its units are sold in the same step that writes the order."""
    outcome = await check_out(request.resources, request.caller, request.require_idempotency_key(), cart_id, data)
    return respond(outcome, request.path)


@post(
    "/api/v1/checkout",
    status_code=201,
    opt={**allow("storefront"), "idempotency": "required"},
    summary="Check out",
    responses=CHECKING_OUT,
)
async def check_out_named(request: ApiRequest, data: JSONBody[Checkout]) -> Response[OrderView]:
    """Order a cart, as `POST /carts/{cart_id}/checkout` does."""
    outcome = await check_out(request.resources, request.caller, request.require_idempotency_key(), data.cart_id, data)
    return respond(outcome, request.path)


router = Router("/", route_handlers=[check_out_cart, check_out_named], tags=["Orders"])
