"""Payments and the lifecycle of orders, judged but not done. Updates may come twice, late or out of order."""

from __future__ import annotations

from msgspec.structs import replace

from engine.carts import LIVE, CartRecord, Scene, known_cart, over, put_cart, renewed
from engine.checkout import given_back
from engine.idempotency import fresh_token
from engine.orders import (
    SETTLED,
    TRANSITIONS,
    KnownOrder,
    Order,
    OrderRecord,
    OrderStatus,
    PaymentStatus,
    changed,
    counted,
    moved,
    put_order,
)
from engine.plans import Plan
from engine.refusals import Refusal, Refused
from engine.trade import Known, Made, Put, Returned, Trade

WINDOW_OVER = "the payment window was over"
PAYMENT_ENDED = {PaymentStatus.FAILED: "the payment failed", PaymentStatus.CANCELED: "the payment was canceled"}
SHOP_CANCELED = "paid after the order was canceled"
UNITS_GONE = "paid too late: its units, or its coupon, could not be had again"

PAID_BEFORE = "{} after it was paid"
PAID_AGAIN = "paid again, by {}"

NO_WINDOW = 0


def plan_payment(  # noqa: PLR0911 - one a state
    scene: Scene, known: KnownOrder, cart: CartRecord | None, status: PaymentStatus, transaction_id: str
) -> Plan[Order] | None:
    """What news of a payment does to its order; None where it is no news: a repetition, or late news of a settled one.

    A success sells what is held. When the window is over, or an earlier attempt had failed, the units are claimed anew,
    and where they cannot be had the order is marked `refund_due`: the money has been taken. So it has been when another
    transaction than the one that paid succeeds.
    """
    record = known.order.record
    running = record.payment.transaction_id
    paid = replace(record, payment=replace(record.payment, status=status, transaction_id=transaction_id or running))
    if record.payment.status is PaymentStatus.SUCCEEDED or record.status is OrderStatus.REFUND_DUE:
        is_another = running != "" and transaction_id not in ("", running)
        is_paid_again = is_another and status is PaymentStatus.SUCCEEDED
        return _mark_paid_again(scene, known, transaction_id) if is_paid_again else None
    if record.is_waiting:
        if status is PaymentStatus.SUCCEEDED:
            return _sell(scene, known, paid, cart)
        if status in SETTLED:
            return plan_release(scene, known, cart, paid, PAYMENT_ENDED[status])
        return None if paid.payment == record.payment else _note(scene, known, paid)
    if status is not PaymentStatus.SUCCEEDED:
        return None
    if record.timeline[-1].reason in (WINDOW_OVER, *PAYMENT_ENDED.values()):
        return _revive(scene, known, paid, cart)
    return _mark_refund_due(scene, known, paid, SHOP_CANCELED)


def plan_lapse(scene: Scene, known: KnownOrder, cart: CartRecord | None) -> Plan[Order] | None:
    """What the end of a payment window does; None while it is not over, or where nothing waits for it."""
    record = known.order.record
    if not record.is_waiting or scene.now_ms < record.payment.until_ms:
        return None
    lapsed = replace(record, payment=replace(record.payment, status=PaymentStatus.CANCELED))
    return plan_release(scene, known, cart, lapsed, WINDOW_OVER)


def plan_transition(
    scene: Scene, known: KnownOrder, cart: CartRecord | None, to: OrderStatus, tracking_number: str
) -> Plan[Order] | Refused:
    """The order in its next status; `canceled` and `returned` put its units back."""
    record = known.order.record
    if to not in TRANSITIONS.get(record.status, frozenset()):
        return Refused(Refusal.TRANSITION_NOT_ALLOWED, reason=f"an order that is {record.status} cannot become {to}")
    if to is OrderStatus.CANCELED and record.is_waiting:
        ended = replace(record, payment=replace(record.payment, status=PaymentStatus.CANCELED))
        return plan_release(scene, known, cart, ended, "")
    if to is OrderStatus.PROCESSING and record.payment.status is not PaymentStatus.SUCCEEDED:
        return Refused(Refusal.TRANSITION_NOT_ALLOWED, reason=f"its payment is {record.payment.status}")
    fresh = moved(record, to, scene.now_ms, tracking_number=tracking_number or record.tracking_number)
    if to not in (OrderStatus.CANCELED, OrderStatus.RETURNED) or record.stock != "sold":
        return Plan(_trade(scene, known, fresh), Order(known.order.token, fresh))
    gives_coupon_back = to is OrderStatus.CANCELED and record.is_coupon_counted
    fresh = replace(
        fresh,
        stock="returned",
        is_coupon_counted=record.is_coupon_counted and not gives_coupon_back,
        refund_reason=_also(record.refund_reason, PAID_BEFORE.format(to)),
    )
    trade = _trade(
        scene,
        known,
        fresh,
        returned=tuple(Returned(item.sku, item.quantity, record.customer or None) for item in record.items),
        counted=counted(record, -1) if gives_coupon_back else (),
        reason=to,
    )
    return Plan(trade, Order(known.order.token, fresh))


def plan_release(
    scene: Scene, known: KnownOrder, cart: CartRecord | None, record: OrderRecord, reason: str
) -> Plan[Order]:
    """The order is canceled, what was held for it is given back, and its cart is as it was before."""
    fresh = moved(record, OrderStatus.CANCELED, scene.now_ms, reason, stock="none", holds=(), is_coupon_counted=False)
    trade = _trade(
        scene,
        known,
        fresh,
        cart=(cart, _reopened(scene, known, cart)),
        ended=record.holds,
        counted=counted(record, -1) if record.is_coupon_counted else (),
        window=(known.order.token, NO_WINDOW),
    )
    return Plan(trade, Order(known.order.token, fresh))


def _sell(scene: Scene, known: KnownOrder, paid: OrderRecord, cart: CartRecord | None) -> Plan[Order]:
    fresh = changed(paid, scene.now_ms, stock="sold", holds=())
    trade = _trade(
        scene,
        known,
        fresh,
        cart=(cart, _closed(scene, known, cart)),
        sold=paid.holds,
        window=(known.order.token, NO_WINDOW),
    )
    return Plan(trade, Order(known.order.token, fresh), otherwise=_revive(scene, known, paid, cart))


def _revive(scene: Scene, known: KnownOrder, paid: OrderRecord, cart: CartRecord | None) -> Plan[Order]:
    """The units are claimed anew and sold, if need be from what the order still holds, or its shopper holds again."""
    last = _mark_refund_due(scene, known, paid, UNITS_GONE, cart)
    taken, left = _taken(scene, paid, cart)
    if taken:
        last = _claim_anew(scene, known, paid, (cart, left), (*paid.holds, *taken), last)
    return _claim_anew(scene, known, paid, (cart, _closed(scene, known, cart)), paid.holds, last)


def _claim_anew(
    scene: Scene,
    known: KnownOrder,
    paid: OrderRecord,
    cart: tuple[CartRecord | None, CartRecord | None],
    ended: tuple[str, ...],
    otherwise: Plan[Order],
) -> Plan[Order]:
    coupon = scene.catalogue.coupon_of_id(paid.coupon_id) if paid.coupon_id else None
    sold: dict[str, object] = {"stock": "sold", "holds": (), "is_coupon_counted": bool(paid.coupon_id)}
    if paid.status is OrderStatus.CREATED:
        fresh = changed(paid, scene.now_ms, **sold)
    else:
        fresh = moved(paid, OrderStatus.CREATED, scene.now_ms, "paid late", **sold)
    trade = _trade(
        scene,
        known,
        fresh,
        cart=cart,
        ended=ended,
        made=tuple(_sold_anew(scene, paid)),
        counted=() if paid.is_coupon_counted else counted(paid, 1, coupon),
        window=(known.order.token, NO_WINDOW),
    )
    return Plan(trade, Order(known.order.token, fresh), otherwise=otherwise)


def _taken(scene: Scene, paid: OrderRecord, cart: CartRecord | None) -> tuple[tuple[str, ...], CartRecord | None]:
    """What the order's own cart holds of its SKUs, if its shopper went on with it; and the cart without those holds."""
    if cart is None or cart.status != "open":
        return (), None
    skus = {item.sku for item in paid.items}
    taken = tuple(line.hold for line in cart.lines if line.sku in skus and scene.is_held(line))
    lines = tuple(replace(line, hold="", until_ms=0) if line.hold in taken else line for line in cart.lines)
    return taken, renewed(scene, cart, lines=lines)


def _sold_anew(scene: Scene, record: OrderRecord) -> list[Made]:
    return [
        Made(
            sku=item.sku,
            quantity=item.quantity,
            customer_id=record.customer or None,
            created_ms=scene.now_ms,
            expires_ms=scene.now_ms + 1_000,
            is_sold=True,
            token=fresh_token(),
        )
        for item in record.items
    ]


def _mark_refund_due(
    scene: Scene, known: KnownOrder, paid: OrderRecord, reason: str, cart: CartRecord | None = None
) -> Plan[Order]:
    fresh = moved(
        paid,
        OrderStatus.REFUND_DUE,
        scene.now_ms,
        reason,
        stock="none",
        holds=(),
        is_coupon_counted=False,
        refund_reason=reason,
    )
    trade = _trade(
        scene,
        known,
        fresh,
        cart=(cart, _reopened(scene, known, cart)),
        ended=paid.holds,
        counted=counted(paid, -1) if paid.is_coupon_counted else (),
        window=(known.order.token, NO_WINDOW),
    )
    return Plan(trade, Order(known.order.token, fresh))


def _mark_paid_again(scene: Scene, known: KnownOrder, transaction_id: str) -> Plan[Order] | None:
    """The order as it is, but for a second payment that has to go back; None where that is known."""
    record, reason = known.order.record, PAID_AGAIN.format(transaction_id)
    if any(step.reason == reason for step in record.timeline):
        return None
    told = _also(record.refund_reason, reason)
    fresh = moved(record, record.status, scene.now_ms, reason, refund_reason=told)
    return Plan(_trade(scene, known, fresh), Order(known.order.token, fresh))


def _also(reason: str, another: str) -> str:
    return f"{reason}; {another}" if reason else another


def _note(scene: Scene, known: KnownOrder, paid: OrderRecord) -> Plan[Order]:
    fresh = changed(paid, scene.now_ms)
    return Plan(_trade(scene, known, fresh), Order(known.order.token, fresh))


def _closed(scene: Scene, known: KnownOrder, cart: CartRecord | None) -> CartRecord | None:
    """The cart that was paid for, unless its shopper has gone on with it meanwhile."""
    if cart is None or cart.order != known.order.token or cart.status not in LIVE:
        return None
    return over(scene, cart, "ordered")


def _reopened(scene: Scene, known: KnownOrder, cart: CartRecord | None) -> CartRecord | None:
    """The cart as it was before, unless it is not this order that it is being paid as."""
    if cart is None or cart.order != known.order.token or cart.status != "paying":
        return None
    return given_back(scene, cart)


def _trade(
    scene: Scene,
    known: KnownOrder,
    fresh: OrderRecord,
    *,
    cart: tuple[CartRecord | None, CartRecord | None] = (None, None),
    **parts: object,
) -> Trade:
    """A trade that writes the order, and its cart where that changes: (as it was read, as it becomes)."""
    token, cart_token = known.order.token, fresh.cart_token
    was, becomes = cart
    puts: tuple[Put, ...] = (put_order(token, fresh, scene.settings),)
    knowns: tuple[Known, ...] = (known.known,)
    if becomes is not None:
        puts += put_cart(scene, cart_token, becomes)
        knowns += (known_cart(cart_token, was),)
    return Trade(known=knowns, put=puts, reference=known.order.id, **parts)  # type: ignore[arg-type]
