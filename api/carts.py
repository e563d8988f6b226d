"""Carts over HTTP: opened, shown, merged, and given a coupon. The functions judge; the routes follow."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from api.access.authentication import Caller, allow
from api.categories import MAX_ID_LENGTH
from api.coupons import CouponCode
from api.holds import MAX_CUSTOMER_LENGTH, CustomerId, Quantity
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problems
from api.messages.refusals import refused
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import WITHOUT_CONTROLS
from api.prices import AppliedRuleView, UnitPrice
from api.process.resources import Resources
from engine.cart_lines import attach_coupon
from engine.carts import ID_PREFIX, Cart, CartItem, CartStatus, ItemStatus, NotMerged
from engine.idempotency import Keyed, derive_token, fingerprint, token_in
from engine.orders import ID_PREFIX as ORDER_PREFIX
from engine.plans import Answer
from engine.pricing import AppliedRule
from engine.refusals import Refusal, Refused
from engine.stock import Sku

CartId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH, examples=["cart_3q2-7wEAAAAAAAAAAAAAAA"])]
NamedCustomer = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=MAX_CUSTOMER_LENGTH,
        pattern=WITHOUT_CONTROLS,
        description="For whom it is asked; another's cart answers 403",
    ),
]


class CartRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose cart it is; nobody's is a guest's."""

    customer_id: CustomerId | None = None


class CouponChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """The coupon that a cart shall have, in place of one that it has."""

    code: CouponCode
    customer_id: CustomerId | None = None


class MergeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The guest's cart whose lines go into this one."""

    from_cart_id: CartId
    customer_id: CustomerId | None = None


class CartItemView(Struct, frozen=True, gc=False):
    """A line of a cart: `final_price = unit_price - discount`, all three for one unit, `total_price` for all of them.

    `held` until `reserved_until`, then `expired`; `listed` where the shop claims stock at checkout. `price_changed`:
    another price than its shopper was shown before.
    """

    sku: Sku
    variant_id: Annotated[str, Meta(examples=["var_3q2-7wEAAAAAAAAAAAAAAA"])]
    quantity: Quantity
    unit_price: Annotated[UnitPrice, Meta(examples=[55_000])]
    discount: Annotated[int, Meta(ge=0, examples=[5_500])]
    final_price: Annotated[UnitPrice, Meta(examples=[49_500])]
    total_price: Annotated[int, Meta(ge=0, examples=[297_000])]
    applied_rules: list[AppliedRuleView]
    reserved_until: Moment | None
    status: Annotated[ItemStatus, Meta(examples=["held"])]
    price_changed: Annotated[bool, Meta(examples=[False])]


class NotMergedView(Struct, frozen=True):
    """A line that a merge could not keep whole: units asked for, units kept of them, and why not all."""

    sku: Sku
    requested: Annotated[int, Meta(examples=[3])]
    kept: Annotated[int, Meta(examples=[1])]
    reason: Annotated[str, Meta(examples=["insufficient-stock"])]


class CartView(Struct, frozen=True, gc=False, kw_only=True):
    """A cart: `subtotal` is the sum of its lines, `discount` what its coupon takes off, `total` what is to be paid."""

    id: CartId
    customer_id: CustomerId | None
    status: Annotated[CartStatus, Meta(description="`open` until it is ordered", examples=["open"])]
    items: list[CartItemView]
    subtotal: Annotated[int, Meta(ge=0, description="In minor units", examples=[297_000])]
    discount: Annotated[int, Meta(ge=0, examples=[29_700])]
    total: Annotated[int, Meta(ge=0, examples=[267_300])]
    currency: Annotated[str | None, Meta(description="null while it is empty", examples=["EUR"])]
    coupon: Annotated[str | None, Meta(description="Its code", examples=["WELCOME10"])]
    coupon_note: Annotated[str | None, Meta(description="Why it takes nothing off just now", examples=[None])]
    created_at: Moment
    expires_at: Moment
    order_id: Annotated[str | None, Meta(description="What it became, or is being paid as", examples=[None])]
    not_merged: Annotated[list[NotMergedView], Meta(description="After a merge")] | UnsetType = UNSET


def view(cart: Cart, *, is_merge: bool = False) -> CartView:
    """A cart as clients see it."""
    return CartView(
        id=cart.id,
        customer_id=cart.customer_id,
        status=cart.status,
        items=[_item(item) for item in cart.items],
        subtotal=cart.subtotal,
        discount=cart.discount,
        total=cart.total,
        currency=cart.currency,
        coupon=cart.coupon,
        coupon_note=cart.coupon_note,
        created_at=moment(cart.created_ms),
        expires_at=moment(cart.expires_ms),
        order_id=None if cart.order_token is None else ORDER_PREFIX + cart.order_token,
        not_merged=[_not_merged(line) for line in cart.not_merged] if is_merge else UNSET,
    )


def _item(item: CartItem) -> CartItemView:
    return CartItemView(
        item.sku,
        item.variant_id,
        item.quantity,
        item.unit_price,
        item.discount,
        item.final_price,
        item.total_price,
        rule_views(item.applied_rules),
        None if item.reserved_until_ms is None else moment(item.reserved_until_ms),
        item.status,
        item.price_changed,
    )


def _not_merged(line: NotMerged) -> NotMergedView:
    return NotMergedView(line.sku, line.requested, line.kept, line.reason)


def rule_views(applied: tuple[AppliedRule, ...]) -> list[AppliedRuleView]:
    return [AppliedRuleView(rule.rule_id, rule.name, rule.kind, rule.discount) for rule in applied]


def keyed(caller: Caller, verb: str, key: str | None, *payload: object) -> Keyed | None:
    """An act as its client's key names it; None without a key."""
    return None if key is None else Keyed(derive_token(caller.client, verb, key), fingerprint(payload))


def token_of(cart_id: str) -> str | None:
    return token_in(cart_id, ID_PREFIX)


def outcome_of(resources: Resources, act: str, answer: Answer[Cart] | Refused, status: int = 200) -> Reply | Problem:
    """What a change of a cart is answered, and counted as."""
    if isinstance(answer, Refused):
        resources.metrics.count_cart(act, answer.refusal)
        return refused(answer)
    resources.metrics.count_cart(act, "replayed" if answer.replayed else "done")
    return Reply(status, view(answer.value, is_merge=act == "merge"), replayed=answer.replayed)


# What a request comes to


async def open_cart(resources: Resources, caller: Caller, key: str | None, body: CartRequest) -> Reply | Problem:
    """A customer's cart, new or not; a new one for a guest. Raises Unavailable."""
    await caller.charge_customer(body.customer_id)
    catalogue = await resources.catalogue.current()
    named = keyed(caller, "open-cart", key, body.customer_id)
    answer = await resources.desk.open_cart(catalogue, body.customer_id, named)
    is_new = isinstance(answer, Answer) and answer.value.is_new
    return outcome_of(resources, "open", answer, 201 if is_new else 200)


async def show(resources: Resources, cart_id: str, customer_id: str | None) -> Reply | Problem:
    """A cart as it stands now. Raises Unavailable."""
    token = token_of(cart_id)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_CART))
    found = await resources.desk.show_cart(await resources.catalogue.current(), token, customer_id)
    return refused(found) if isinstance(found, Refused) else Reply(200, view(found))


async def choose_coupon(
    resources: Resources, caller: Caller, key: str | None, cart_id: str, code: str, customer_id: str | None
) -> Reply | Problem:
    """Give a cart a coupon, or with "" none. Raises Unavailable."""
    await caller.charge_customer(customer_id)
    token = token_of(cart_id)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_CART))
    answer = await resources.desk.change_cart(
        await resources.catalogue.current(),
        token,
        lambda scene, name, record: attach_coupon(scene, name, record, code),
        customer_id,
        keyed(caller, "choose-coupon", key, cart_id, (code, customer_id)),
    )
    return outcome_of(resources, "coupon", answer)


async def merge(
    resources: Resources, caller: Caller, key: str | None, cart_id: str, body: MergeRequest
) -> Reply | Problem:
    """Put a guest's cart into another one. Raises Unavailable."""
    await caller.charge_customer(body.customer_id)
    token, source = token_of(cart_id), token_of(body.from_cart_id)
    if token is None or source is None:
        return refused(Refused(Refusal.UNKNOWN_CART))
    if token == source:
        return invalid("from_cart_id", "a cart cannot be merged into itself")
    named = keyed(caller, "merge-carts", key, cart_id, body)
    catalogue = await resources.catalogue.current()
    answer = await resources.desk.merge(catalogue, token, source, body.customer_id, named)
    return outcome_of(resources, "merge", answer)


CHANGING = (
    *PROTECTED_CODES,
    "unknown-cart",
    "cart-ordered",
    "cart-merged",
    "payment-pending",
    "body-too-large",
    "idempotency-key-reused",
)
NOBODY = CartRequest()
CART_PATH = "/api/v1/carts"
_OPENING: Any = {
    200: ResponseSpec(CartView, generate_examples=False, description="The cart that the customer has."),
    **problems(*PROTECTED_CODES, "body-too-large", "idempotency-key-reused"),
}


class CartRoutes(Controller):
    """Carts over HTTP."""

    path = CART_PATH
    tags = ("Carts",)

    @post(
        "/",
        status_code=201,
        opt={**allow("storefront"), "idempotency": "optional", "body": "optional"},
        summary="Open a cart",
        responses=_OPENING,
    )
    async def open_cart(self, request: ApiRequest, data: JSONBody[CartRequest] = NOBODY) -> Response[CartView]:
        """A new cart for a guest; the one live cart of a customer, made if there is none (201) or as it is (200)."""
        return respond(await open_cart(request.resources, request.caller, request.idempotency_key, data), request.path)

    @get(
        "/{cart_id:str}",
        opt=allow("storefront"),
        summary="Show a cart",
        responses=problems(*PROTECTED_CODES, "unknown-cart"),
    )
    async def show_cart(
        self, request: ApiRequest, cart_id: FromPath[str], customer_id: NamedCustomer = None
    ) -> Response[CartView]:
        """A cart as it stands now: what is held, and for how long; what it costs."""
        return respond(await show(request.resources, cart_id, customer_id), request.path)

    @post(
        "/{cart_id:str}/coupon",
        status_code=200,
        opt={**allow("storefront"), "idempotency": "optional"},
        summary="Use a coupon",
        responses=problems(*CHANGING, "unknown-coupon", "coupon-not-applicable"),
    )
    async def choose_coupon(
        self, request: ApiRequest, cart_id: FromPath[str], data: JSONBody[CouponChoice]
    ) -> Response[CartView]:
        """Give the cart a coupon. Its limits are counted when the cart is ordered."""
        outcome = await choose_coupon(
            request.resources, request.caller, request.idempotency_key, cart_id, data.code, data.customer_id
        )
        return respond(outcome, request.path)

    @delete(
        "/{cart_id:str}/coupon",
        status_code=200,
        opt=allow("storefront"),
        summary="Take the coupon off",
        responses=problems(*PROTECTED_CODES, "unknown-cart", "cart-ordered", "cart-merged", "payment-pending"),
    )
    async def drop_coupon(
        self, request: ApiRequest, cart_id: FromPath[str], customer_id: NamedCustomer = None
    ) -> Response[CartView]:
        """The cart without a coupon, whether it had one or not."""
        outcome = await choose_coupon(request.resources, request.caller, None, cart_id, "", customer_id)
        return respond(outcome, request.path)

    @post(
        "/{cart_id:str}/merge",
        status_code=200,
        opt={**allow("storefront"), "idempotency": "optional"},
        summary="Merge a guest's cart",
        responses=problems(*CHANGING),
    )
    async def merge_cart(
        self, request: ApiRequest, cart_id: FromPath[str], data: JSONBody[MergeRequest]
    ) -> Response[CartView]:
        """Put a guest's lines into this cart: quantities are summed as far as they fit, `not_merged` tells the rest."""
        outcome = await merge(request.resources, request.caller, request.idempotency_key, cart_id, data)
        return respond(outcome, request.path)
