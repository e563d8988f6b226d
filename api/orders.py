"""Orders over HTTP: shown, paid, and moved through their life. The functions judge; the routes follow."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from api.access.authentication import Caller, allow
from api.carts import CartId, keyed, rule_views
from api.catalogue import position_of
from api.holds import MAX_CUSTOMER_LENGTH, CustomerId, Quantity
from api.messages.errors import PROTECTED_CODES, Problem, problems
from api.messages.pages import DEFAULT_LIMIT, Cursor, Limit, encode_cursor
from api.messages.refusals import refused
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import WITHOUT_CONTROLS
from api.prices import AppliedRuleView, UnitPrice
from api.process.resources import Resources
from engine.carts import ID_PREFIX as CART_PREFIX
from engine.errors import Unavailable
from engine.idempotency import token_in
from engine.orders import ID_PREFIX, Order, OrderItem, OrderStatus, PaymentStatus
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from engine.stock import Sku
from persistence import audit
from persistence import orders as stored
from persistence.pool import Pool

MAX_WORDS_LENGTH = 128
OWN_WRITES_WAIT_S = 1.0

Words = Annotated[str, Meta(min_length=1, max_length=MAX_WORDS_LENGTH, pattern=WITHOUT_CONTROLS)]
TransactionId = Annotated[Words, Meta(description="The payment provider's", examples=["pi_3MtwBwLkdIwHu7ix"])]
TrackingNumber = Annotated[Words, Meta(description="The carrier's", examples=["00340434161094042557"])]
OrderId = Annotated[str, Meta(examples=["ord_3q2-7wEAAAAAAAAAAAAAAA-51b2"])]


class PaymentNews(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a payment; it may be told twice, late or out of order."""

    status: Annotated[
        Literal["processing", "requires_action", "succeeded", "failed", "canceled"], Meta(examples=["succeeded"])
    ]
    transaction_id: TransactionId | None = None


class TransitionRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The status that the order shall have."""

    to: Annotated[
        Literal["processing", "shipped", "delivered", "completed", "canceled", "returned"],
        Meta(examples=["processing"]),
    ]
    tracking_number: TrackingNumber | None = None


class OrderItemView(Struct, frozen=True, gc=False):
    """A line of an order: a copy of the prices that no later rule touches; money for one unit but for `total_price`."""

    sku: Sku
    variant_id: Annotated[str, Meta(examples=["var_3q2-7wEAAAAAAAAAAAAAAA"])]
    product_id: Annotated[str, Meta(examples=["prod_3q2-7wEAAAAAAAAAAAAAAA"])]
    name: Annotated[str, Meta(examples=["Harbour T-shirt"])]
    quantity: Quantity
    unit_price: Annotated[UnitPrice, Meta(examples=[55_000])]
    discount: Annotated[int, Meta(ge=0, examples=[5_500])]
    final_price: Annotated[UnitPrice, Meta(examples=[49_500])]
    total_price: Annotated[int, Meta(ge=0, examples=[297_000])]
    applied_rules: list[AppliedRuleView]


class PaymentView(Struct, frozen=True, gc=False):
    """How an order is paid; `expires_at` is the end of the time that its units are held for a pending one."""

    status: Annotated[PaymentStatus, Meta(examples=["succeeded"])]
    transaction_id: Annotated[str | None, Meta(examples=["pi_3MtwBwLkdIwHu7ix"])]
    expires_at: Annotated[Moment | None, Meta(examples=[None])]


class StepView(Struct, frozen=True, gc=False):
    """A status that the order took, and when."""

    status: Annotated[OrderStatus, Meta(examples=["created"])]
    at: Moment
    reason: Annotated[str, Meta(description="Where it is not plain", examples=["the payment failed"])] | UnsetType = (
        UNSET
    )


class OrderView(Struct, frozen=True, gc=False, kw_only=True):
    """An order: `subtotal` is the sum of its lines, `discount` what its coupon took off, `total` what it costs."""

    id: OrderId
    cart_id: CartId
    customer_id: CustomerId | None
    status: Annotated[OrderStatus, Meta(examples=["created"])]
    items: list[OrderItemView]
    subtotal: Annotated[int, Meta(ge=0, description="In minor units", examples=[297_000])]
    discount: Annotated[int, Meta(ge=0, examples=[29_700])]
    total: Annotated[int, Meta(ge=0, examples=[267_300])]
    currency: Annotated[str, Meta(examples=["EUR"])]
    coupon: Annotated[str | None, Meta(description="Its code", examples=["WELCOME10"])]
    payment: PaymentView
    timeline: list[StepView]
    tracking_number: TrackingNumber | None
    refund_due: Annotated[str | None, Meta(description="Why money has to go back", examples=[None])]
    created_at: Moment
    updated_at: Moment


class OrderPage(Struct, frozen=True):
    """Some orders, newest first."""

    items: list[OrderView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


def view(order: Order) -> OrderView:
    """An order as clients see it."""
    record = order.record
    payment = record.payment
    return OrderView(
        id=order.id,
        cart_id=CART_PREFIX + record.cart_token,
        customer_id=record.customer or None,
        status=record.status,
        items=[_item(item) for item in record.items],
        subtotal=record.subtotal,
        discount=record.discount,
        total=record.total,
        currency=record.currency,
        coupon=record.coupon or None,
        payment=PaymentView(
            payment.status, payment.transaction_id or None, moment(payment.until_ms) if payment.until_ms else None
        ),
        timeline=[StepView(step.status, moment(step.at_ms), step.reason or UNSET) for step in record.timeline],
        tracking_number=record.tracking_number or None,
        refund_due=record.refund_reason or None,
        created_at=moment(record.created_ms),
        updated_at=moment(record.updated_ms),
    )


def _item(item: OrderItem) -> OrderItemView:
    return OrderItemView(
        item.sku,
        item.variant_id,
        item.product_id,
        item.name,
        item.quantity,
        item.unit_price,
        item.discount,
        item.final_price,
        item.total_price,
        rule_views(item.applied_rules),
    )


# What a request comes to


async def show_page(
    resources: Resources, limit: int, cursor: str | None, customer_id: str | None, status: OrderStatus | None
) -> Reply | Problem:
    """A page of orders: those just made too, unless PostgreSQL is behind. Raises Unavailable, ProblemRaised."""
    before = None if cursor is None else position_of(cursor)
    backlog = await resources.shard.backlog()

    async def read(pool: Pool) -> list[stored.PlacedOrder]:
        with suppress(Unavailable):
            await audit.wait_until_applied(pool, resources.shard.keys, backlog.epoch, backlog.seq, OWN_WRITES_WAIT_S)
        return await stored.page(pool, customer_id=customer_id, status=status, before=before, limit=limit + 1)

    rows = await resources.database.ask(read, OWN_WRITES_WAIT_S * 2)
    following = encode_cursor(str(rows[limit - 1].position)) if len(rows) > limit else None
    return Reply(200, OrderPage([view(row.order) for row in rows[:limit]], following))


async def show(resources: Resources, order_id: str) -> Reply | Problem:
    """One order, from PostgreSQL once Redis let go of it. Raises Unavailable."""
    token = token_in(order_id, ID_PREFIX)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_ORDER))
    found = await resources.desk.show_order(await resources.catalogue.current(), token)
    return refused(found) if isinstance(found, Refused) else Reply(200, view(found))


async def pay(
    resources: Resources, caller: Caller, key: str | None, order_id: str, body: PaymentNews
) -> Reply | Problem:
    """Take news of an order's payment. Raises Unavailable."""
    token = token_in(order_id, ID_PREFIX)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_ORDER))
    answer = await resources.desk.pay(
        await resources.catalogue.current(),
        token,
        PaymentStatus(body.status),
        body.transaction_id or "",
        keyed(caller, "pay", key, order_id, body),
    )
    return _outcome(resources, "pay", answer)


async def move(
    resources: Resources, caller: Caller, key: str | None, order_id: str, body: TransitionRequest
) -> Reply | Problem:
    """Move an order to its next status. Raises Unavailable."""
    token = token_in(order_id, ID_PREFIX)
    if token is None:
        return refused(Refused(Refusal.UNKNOWN_ORDER))
    answer = await resources.desk.move_order(
        await resources.catalogue.current(),
        token,
        OrderStatus(body.to),
        body.tracking_number or "",
        keyed(caller, "move-order", key, order_id, body),
    )
    return _outcome(resources, body.to, answer)


def _outcome(resources: Resources, act: str, answer: Answer[Order] | Refused) -> Reply | Problem:
    if isinstance(answer, Refused):
        resources.metrics.count_order(act, answer.refusal)
        return refused(answer)
    resources.metrics.count_order(act, "replayed" if answer.replayed else "done")
    return Reply(200, view(answer.value), replayed=answer.replayed)


class OrderRoutes(Controller):
    """Orders over HTTP."""

    path = "/api/v1/orders"
    tags = ("Orders",)

    @get("/", opt=allow("storefront"), summary="List orders", responses=problems(*PROTECTED_CODES))
    async def list_orders(
        self,
        request: ApiRequest,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        customer_id: Annotated[
            str | None,
            QueryParameter(
                min_length=1, max_length=MAX_CUSTOMER_LENGTH, pattern=WITHOUT_CONTROLS, description="Of one customer"
            ),
        ] = None,
        status: Annotated[OrderStatus | None, QueryParameter(description="In this status")] = None,
    ) -> Response[OrderPage]:
        """Every order, newest first, a page at a time."""
        return respond(await show_page(request.resources, limit, cursor, customer_id, status), request.path)

    @get(
        "/{order_id:str}",
        opt=allow("storefront"),
        summary="Show an order",
        responses=problems(*PROTECTED_CODES, "unknown-order"),
    )
    async def show_order(self, request: ApiRequest, order_id: FromPath[str]) -> Response[OrderView]:
        """One order, however old it is."""
        return respond(await show(request.resources, order_id), request.path)

    @post(
        "/{order_id:str}/payment",
        status_code=200,
        opt={**allow("storefront"), "idempotency": "optional"},
        summary="Tell of a payment",
        responses=problems(*PROTECTED_CODES, "unknown-order", "body-too-large", "idempotency-key-reused"),
    )
    async def tell_payment(
        self, request: ApiRequest, order_id: FromPath[str], data: JSONBody[PaymentNews]
    ) -> Response[OrderView]:
        """News of a payment, as a provider's webhook tells it. What is no news changes nothing and answers the order as
        it is. A success that comes too late claims the units again, or marks the order `refund_due`.
        """
        outcome = await pay(request.resources, request.caller, request.idempotency_key, order_id, data)
        return respond(outcome, request.path)

    @post(
        "/{order_id:str}/transitions",
        status_code=200,
        opt={**allow("operator"), "idempotency": "optional"},
        summary="Move an order on",
        responses=problems(
            *PROTECTED_CODES, "unknown-order", "transition-not-allowed", "body-too-large", "idempotency-key-reused"
        ),
    )
    async def move_order(
        self, request: ApiRequest, order_id: FromPath[str], data: JSONBody[TransitionRequest]
    ) -> Response[OrderView]:
        """The next status of an order's life; `canceled` and `returned` put its units back."""
        outcome = await move(request.resources, request.caller, request.idempotency_key, order_id, data)
        return respond(outcome, request.path)
