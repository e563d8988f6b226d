"""Merging a guest's cart into another, judged but not done: what fits is kept, what does not is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from engine.cart_lines import hold_for
from engine.carts import (
    MAX_LINES,
    Cart,
    CartLine,
    CartRecord,
    NotMerged,
    Scene,
    known_cart,
    over,
    priced_as,
    put_cart,
    renewed,
    shown,
)
from engine.holds import MAX_QUANTITY
from engine.idempotency import fresh_token
from engine.plans import Plan
from engine.refusals import Refusal
from engine.trade import Trade


class Room(Struct, frozen=True):
    """What one SKU leaves room for: units that anyone may reserve, and units more that the customer may have."""

    available: int
    customer_left: int | None


class Sides(Struct, frozen=True):
    """Both carts: lines of `source` go into `target`."""

    target_token: str
    target: CartRecord
    source_token: str
    source: CartRecord


def plan_merge(scene: Scene, sides: Sides, room: Mapping[str, Room]) -> Plan[Cart]:
    """The target with what fits of the source, which is closed.

    Quantities of the same SKU are summed; the hold lives as long as the longer-lived of the two.
    """
    lines = {line.sku: line for line in sides.target.lines}
    currency = sides.target.currency or sides.source.currency
    ended: list[str] = [line.hold for line in sides.source.lines if line.hold]
    told: list[NotMerged] = []
    fresh_lines: list[CartLine] = []
    for line in sides.source.lines:
        old = lines.get(line.sku)
        had = 0 if old is None else old.quantity
        wanted = line.quantity + had
        kept, reason = _fit(scene, line, old, room.get(line.sku), wanted)
        if sides.source.currency != currency or not scene.is_priced_in(line, currency):
            kept, reason = 0, Refusal.CURRENCY_MISMATCH
        elif old is None and len(lines) >= MAX_LINES:
            kept, reason = 0, Refusal.CART_FULL
        if kept < wanted:
            told.append(NotMerged(line.sku, line.quantity, max(0, kept - had), reason))
        if kept > had or (old is not None and kept > 0 and _protects(scene, line, old, is_whole=kept == had)):
            lines[line.sku] = fresh = _merged(scene, line, old, kept)
            fresh_lines.append(fresh)
            if old is not None and old.hold:
                ended.append(old.hold)
    target, cart = shown(
        scene,
        sides.target_token,
        renewed(
            scene,
            sides.target,
            lines=tuple(lines.values()),
            currency=currency if lines else "",
            coupon=sides.target.coupon or sides.source.coupon,
            order="",
        ),
    )
    source = over(scene, sides.source, "merged")
    trade = Trade(
        known=(known_cart(sides.target_token, sides.target), known_cart(sides.source_token, sides.source)),
        ended=tuple(ended),
        made=tuple(hold_for(target, line) for line in fresh_lines if line.hold),
        put=(*put_cart(scene, sides.target_token, target), *put_cart(scene, sides.source_token, source)),
    )
    return Plan(trade, replace(cart, not_merged=tuple(told)))


def skus_of(sides: Sides) -> Iterable[str]:
    """The SKUs that a merge needs to know the room of."""
    return [line.sku for line in sides.source.lines]


def _fit(scene: Scene, line: CartLine, old: CartLine | None, room: Room | None, wanted: int) -> tuple[int, Refusal]:
    """How many of the units wanted can be in one line, and what stands against more.

    None of them leaves a line that is there as it is.
    """
    found = scene.product_of(line)
    if found is None or not scene.is_sold(*found):
        return 0, Refusal.PRODUCT_DISCONTINUED
    most = min(wanted, MAX_QUANTITY)
    if scene.settings.reserve_on == "checkout":
        return most, Refusal.QUANTITY_TOO_LARGE
    if room is None:
        return 0, Refusal.INSUFFICIENT_STOCK
    own = sum(each.quantity for each in (line, old) if each is not None and scene.is_held(each))
    own_of_target = old.quantity if old is not None and scene.is_held(old) else 0
    by_stock = own + room.available
    by_limit = most if room.customer_left is None else own_of_target + max(0, room.customer_left)
    kept = min(most, by_stock, by_limit)
    if kept == most:
        return kept, Refusal.QUANTITY_TOO_LARGE
    return kept, Refusal.CUSTOMER_LIMIT_EXCEEDED if by_limit < by_stock else Refusal.INSUFFICIENT_STOCK


def _protects(scene: Scene, line: CartLine, old: CartLine, *, is_whole: bool) -> bool:
    """Whether a line that grows no further is better held for the merge: it is not held, or all of it for longer."""
    return not scene.is_held(old) or (is_whole and scene.is_held(line) and line.until_ms > old.until_ms)


def _merged(scene: Scene, line: CartLine, old: CartLine | None, quantity: int) -> CartLine:
    """One line of both, at the price shown for all of its units where that still counts, otherwise at today's."""
    live = [each for each in (line, old) if each is not None and scene.is_held(each)]
    base = line if old is None else old
    until_ms = max((each.until_ms for each in live), default=scene.now_ms + scene.settings.cart_hold_ttl_s * 1000)
    since_ms = min((each.held_since_ms for each in live), default=scene.now_ms)
    is_listed = scene.settings.reserve_on == "checkout"
    merged = replace(
        base,
        quantity=quantity,
        hold="" if is_listed else fresh_token(),
        held_since_ms=since_ms,
        until_ms=until_ms,
        user_tier=base.user_tier or line.user_tier,
        promo_code=base.promo_code or line.promo_code,
    )
    of_units = (base,) if quantity <= base.quantity else (base, line)
    today = scene.price_today(merged)
    if today is None or all(
        each.final_price == base.final_price and scene.keeps_price(each, quantity, today) for each in of_units
    ):
        return merged
    return replace(
        priced_as(merged, today),
        price_changed=any(scene.is_repriced(each) for each in of_units),
        is_of_quantity=scene.is_of_quantity(today),
    )
