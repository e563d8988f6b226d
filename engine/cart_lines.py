"""Changes of a cart's lines, judged but not done: what is added, set or removed, and what that makes of the holds."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from engine.carts import (
    MAX_LINES,
    Cart,
    CartLine,
    CartRecord,
    Scene,
    known_cart,
    priced_as,
    put_cart,
    renewed,
    shown,
)
from engine.catalogue import Product, Variant
from engine.holds import MAX_QUANTITY
from engine.idempotency import fresh_token
from engine.plans import Plan
from engine.quotes import quote
from engine.refusals import Refusal, Refused
from engine.trade import Made, Trade


class Wanted(Struct, frozen=True, gc=False):
    """Units of a variant for a cart, and what their price depends on."""

    variant: Variant
    product: Product
    quantity: int
    user_tier: str | None = None
    promo_code: str | None = None


def add(scene: Scene, token: str, record: CartRecord, wanted: Wanted) -> Plan[Cart] | Refused:
    """More units of a variant: a new line, or more of the one that is there."""
    old = record.line(wanted.variant.sku)
    if old is None and len(record.lines) >= MAX_LINES:
        return Refused(Refusal.CART_FULL)
    if record.currency not in ("", wanted.product.currency):
        return Refused(Refusal.CURRENCY_MISMATCH, skus=(wanted.variant.sku,), reason=record.currency)
    if not scene.is_sold(wanted.product, wanted.variant):
        return Refused(Refusal.PRODUCT_DISCONTINUED, skus=(wanted.variant.sku,))
    quantity = wanted.quantity + (0 if old is None else old.quantity)
    if quantity > MAX_QUANTITY:
        return Refused(Refusal.QUANTITY_TOO_LARGE, skus=(wanted.variant.sku,))
    tier = wanted.user_tier if wanted.user_tier is not None or old is None else old.user_tier
    promo = wanted.promo_code if wanted.promo_code is not None or old is None else old.promo_code
    line = _line(scene, old, (wanted.product, wanted.variant), quantity, tier, promo)
    lines = (*record.lines, line) if old is None else _with(record, line)
    return _plan(scene, token, record, lines, old, line, wanted.product.currency)


def set_quantity(scene: Scene, token: str, record: CartRecord, sku: str, quantity: int) -> Plan[Cart] | Refused:
    """As many units of a line as this; none removes it."""
    old = record.line(sku)
    if old is None:
        return Refused(Refusal.UNKNOWN_CART_ITEM, skus=(sku,))
    if quantity == 0:
        lines = tuple(line for line in record.lines if line.sku != sku)
        return _plan(scene, token, record, lines, old, None, record.currency if lines else "")
    found = scene.product_of(old)
    if found is None or (not scene.is_sold(*found) and not (scene.is_held(old) and quantity < old.quantity)):
        return Refused(Refusal.PRODUCT_DISCONTINUED, skus=(sku,))
    if not scene.is_priced_in(old, record.currency):
        return Refused(Refusal.CURRENCY_MISMATCH, skus=(sku,), reason=record.currency)
    line = _line(scene, old, found, quantity, old.user_tier, old.promo_code)
    return _plan(scene, token, record, _with(record, line), old, line, record.currency)


def attach_coupon(scene: Scene, token: str, record: CartRecord, code: str) -> Plan[Cart] | Refused:
    """A coupon on the cart, in place of one that is there; "" takes it off. It is counted when the cart is ordered."""
    coupon = scene.catalogue.coupon(code) if code else None
    if code and coupon is None:
        return Refused(Refusal.UNKNOWN_COUPON)
    fresh = renewed(scene, record, coupon="" if coupon is None else coupon.code)
    fresh, cart = shown(scene, token, fresh)
    if cart.coupon_note is not None:
        return Refused(Refusal.COUPON_NOT_APPLICABLE, reason=cart.coupon_note)
    return Plan(Trade(known=(known_cart(token, record),), put=put_cart(scene, token, fresh)), cart)


def hold_for(record: CartRecord, line: CartLine) -> Made:
    """The hold that a line is."""
    customer = record.customer or None
    return Made(line.sku, line.quantity, customer, line.held_since_ms, line.until_ms, token=line.hold)


def _line(
    scene: Scene,
    old: CartLine | None,
    of: tuple[Product, Variant],
    quantity: int,
    user_tier: str | None,
    promo_code: str | None,
) -> CartLine:
    """The line after a touch: priced by today, unless no more units are wanted at a price still honoured."""
    product, variant = of
    price = quote(
        scene.catalogue,
        product,
        variant,
        quantity=quantity,
        user_tier=user_tier,
        promo_code=promo_code,
        at_ms=scene.now_ms,
    )
    since_ms, until_ms = _times(scene, old, is_fewer=old is not None and quantity < old.quantity)
    line = CartLine(
        sku=variant.sku,
        variant_id=variant.id,
        quantity=quantity,
        hold=fresh_token() if scene.settings.reserve_on == "cart" else "",
        held_since_ms=since_ms,
        until_ms=until_ms,
        unit_price=price.unit_price,
        discount=price.discount,
        final_price=price.final_price,
        applied_rules=price.applied_rules,
        user_tier=user_tier,
        promo_code=promo_code,
        is_of_quantity=scene.is_of_quantity(price),
    )
    if old is None:
        return line
    if quantity <= old.quantity and scene.keeps_price(old, quantity, price):
        return replace(priced_as(line, old), is_of_quantity=old.is_of_quantity)
    return replace(line, price_changed=scene.is_repriced(old))


def _times(scene: Scene, old: CartLine | None, *, is_fewer: bool) -> tuple[int, int]:
    """Since when the line is held, and until when: a touch gives it a whole time again, within a longest life."""
    ttl_ms, life_ms = scene.settings.cart_hold_ttl_s * 1000, scene.settings.max_hold_life_s * 1000
    if old is None or not scene.now_ms < old.until_ms:
        return scene.now_ms, scene.now_ms + ttl_ms
    if is_fewer:
        return old.held_since_ms, old.until_ms
    return old.held_since_ms, max(old.until_ms, min(scene.now_ms + ttl_ms, old.held_since_ms + life_ms))


def _with(record: CartRecord, line: CartLine) -> tuple[CartLine, ...]:
    return tuple(line if each.sku == line.sku else each for each in record.lines)


def _plan(
    scene: Scene,
    token: str,
    record: CartRecord,
    lines: tuple[CartLine, ...],
    old: CartLine | None,
    line: CartLine | None,
    currency: str,
) -> Plan[Cart]:
    fresh, cart = shown(scene, token, renewed(scene, record, lines=lines, currency=currency, order=""))
    trade = Trade(
        known=(known_cart(token, record),),
        ended=(old.hold,) if old is not None and old.hold else (),
        made=(hold_for(record, line),) if line is not None and line.hold else (),
        put=put_cart(scene, token, fresh),
    )
    return Plan(trade, cart)
