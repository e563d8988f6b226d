"""Checkout, judged but not done: a cart becomes an order, all of it or nothing."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from engine.carts import (
    Cart,
    CartItem,
    CartLine,
    CartRecord,
    Scene,
    appraise,
    known_cart,
    over,
    price_changes,
    priced_as,
    put_cart,
    renewed,
    unheld,
)
from engine.coupons import Coupon
from engine.idempotency import fresh_token
from engine.orders import (
    Order,
    OrderItem,
    OrderRecord,
    OrderStatus,
    Payment,
    PaymentStatus,
    Step,
    counted,
    put_order,
)
from engine.plans import Plan
from engine.refusals import Refusal, Refused
from engine.trade import Known, Made, Trade


class CheckoutRequest(Struct, frozen=True, gc=False):
    """A checkout: `tokens` are those that its idempotency key leads to, of which the first is the order's.

    `customer_id` may name who a guest's cart is ordered for. With `is_pending` the units are held for the payment's
    window, otherwise they are sold at once.
    """

    tokens: tuple[str, ...]
    fingerprint: str
    customer_id: str | None
    is_pending: bool


def plan_checkout(scene: Scene, token: str, record: CartRecord, request: CheckoutRequest) -> Plan[Order] | Refused:
    """What makes an order of a cart; or why there can be none, in order of precedence."""
    cart = appraise(scene, token, record)
    refused = _refusal(scene, record, cart)
    if refused is not None:
        return refused
    coupon = scene.catalogue.coupon(record.coupon) if record.coupon else None
    customer = record.customer or request.customer_id or ""
    sold, ended, made = _holds(scene, record, customer, is_pending=request.is_pending)
    until_ms = scene.now_ms + scene.settings.payment_window_s * 1000 if request.is_pending else 0
    order = _order(scene, token, record, cart, request, coupon, customer, until_ms, tuple(each.token for each in made))
    order_token = request.tokens[0]
    placed = Order(order_token, order)
    bought = replace(record, lines=_as_ordered(record, cart), order=order_token, shown_discount=cart.discount)
    if request.is_pending:
        lines = tuple(
            replace(line, hold=each.token, until_ms=until_ms) for line, each in zip(bought.lines, made, strict=True)
        )
        closed = renewed(scene, bought, status="paying", lines=lines)
    else:
        closed = over(scene, bought, "ordered")
    trade = Trade(
        known=(known_cart(token, record), *[Known("order", each, 0) for each in request.tokens]),
        ended=ended,
        sold=sold,
        made=made,
        counted=counted(order, 1, coupon),
        put=(put_order(order_token, order, scene.settings), *put_cart(scene, token, closed)),
        window=(order_token, until_ms) if request.is_pending else None,
        reference=placed.id,
    )
    return Plan(trade, placed)


def _as_ordered(record: CartRecord, cart: Cart) -> tuple[CartLine, ...]:
    """The cart's lines at the prices that they are ordered at."""
    return tuple(priced_as(line, item) for line, item in zip(record.lines, cart.items, strict=True))


def _refusal(scene: Scene, record: CartRecord, cart: Cart) -> Refused | None:
    if not record.lines:
        return Refused(Refusal.CART_EMPTY)
    refused = _refusal_of_lines(scene, record)
    if refused is not None:
        return refused
    changes = price_changes(record, cart)
    if changes and scene.settings.price_policy != "dynamic":
        return Refused(Refusal.PRICE_CHANGED, prices=changes)
    if cart.coupon_note is not None:
        return Refused(Refusal.COUPON_NOT_APPLICABLE, reason=cart.coupon_note)
    if record.shown_discount not in (None, cart.discount) and scene.settings.price_policy != "dynamic":
        return Refused(Refusal.PRICE_CHANGED, reason=record.coupon)
    return None


def _refusal_of_lines(scene: Scene, record: CartRecord) -> Refused | None:
    dead, gone, foreign = [], [], []
    for line in record.lines:
        found = scene.product_of(line)
        if line.hold and not scene.is_held(line):
            dead.append(line.sku)
        if found is None or not scene.is_sold(*found):
            gone.append(line.sku)
        elif found[0].currency != record.currency:
            foreign.append(line.sku)
    if dead:
        return Refused(Refusal.HOLD_EXPIRED, skus=tuple(dead))
    if gone:
        return Refused(Refusal.PRODUCT_DISCONTINUED, skus=tuple(gone))
    if foreign:
        return Refused(Refusal.CURRENCY_MISMATCH, skus=tuple(foreign), reason=record.currency)
    return None


def _holds(
    scene: Scene, record: CartRecord, customer: str, *, is_pending: bool
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Made, ...]]:
    """Holds to sell as they are, to give back, and to make: for what nothing was held, or for another time or owner."""
    stays = not is_pending and customer == record.customer
    expires_ms = scene.now_ms + (scene.settings.payment_window_s if is_pending else 1) * 1000
    sold: list[str] = []
    ended: list[str] = []
    made: list[Made] = []
    for line in record.lines:
        if stays and line.hold:
            sold.append(line.hold)
            continue
        if line.hold:
            ended.append(line.hold)
        made.append(
            Made(
                sku=line.sku,
                quantity=line.quantity,
                customer_id=customer or None,
                created_ms=scene.now_ms,
                expires_ms=expires_ms,
                is_sold=not is_pending,
                token=fresh_token(),
            )
        )
    return tuple(sold), tuple(ended), tuple(made)


def _order(
    scene: Scene,
    token: str,
    record: CartRecord,
    cart: Cart,
    request: CheckoutRequest,
    coupon: Coupon | None,
    customer: str,
    until_ms: int,
    holds: tuple[str, ...],
) -> OrderRecord:
    first = PaymentStatus.PENDING if request.is_pending else PaymentStatus.SUCCEEDED
    return OrderRecord(
        version=1,
        status=OrderStatus.CREATED,
        customer=customer,
        cart_token=token,
        fingerprint=request.fingerprint,
        currency=record.currency,
        created_ms=scene.now_ms,
        updated_ms=scene.now_ms,
        subtotal=cart.subtotal,
        discount=cart.discount,
        total=cart.total,
        coupon_id="" if coupon is None else coupon.id,
        coupon="" if coupon is None else coupon.code,
        is_coupon_counted=coupon is not None,
        payment=Payment(first, first, until_ms),
        stock="held" if request.is_pending else "sold",
        holds=holds if request.is_pending else (),
        items=tuple([_item(scene, item) for item in cart.items]),
        timeline=(Step(OrderStatus.CREATED, scene.now_ms),),
    )


def _item(scene: Scene, item: CartItem) -> OrderItem:
    variant = scene.catalogue.variant(item.variant_id)
    product = None if variant is None else scene.catalogue.product(variant.product_id)
    return OrderItem(
        sku=item.sku,
        variant_id=item.variant_id,
        product_id="" if product is None else product.id,
        name="" if product is None else product.name,
        quantity=item.quantity,
        unit_price=item.unit_price,
        discount=item.discount,
        final_price=item.final_price,
        total_price=item.total_price,
        applied_rules=item.applied_rules,
    )


def given_back(scene: Scene, record: CartRecord) -> CartRecord:
    """A cart whose order came to nothing: intact, but nothing is held for it any more.

    Its next checkout claims the units anew, since it was not the shopper who let the time pass.
    """
    return renewed(scene, record, status="open", lines=unheld(record))
