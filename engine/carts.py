"""Carts: what a shopper means to buy. A line is a hold, with the price that its shopper was shown."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal
from zlib import crc32

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.catalogue import Catalogue, Product, ProductStatus, Variant
from engine.coupons import CouponLine, Objection, discount_of
from engine.idempotency import derive_token, fresh_nonce
from engine.pricing import OF_QUANTITY, AppliedRule, Price
from engine.quotes import quote
from engine.refusals import PriceChange, Refusal, Refused
from engine.settings import Settings
from engine.trade import Known, Put

ID_PREFIX = "cart_"
MAX_LINES = 100
PAYING_GRACE_S = 3_600
"""What a cart that is being paid outlives its payment's window by, so that whoever ends that finds it."""

CartStatus = Literal["open", "paying", "ordered", "merged"]
LIVE = ("open", "paying")
"""Of a customer's carts one at most is so."""
ItemStatus = Literal["held", "expired", "listed"]


class CartLine(Struct, frozen=True, array_like=True, gc=False):
    """Units of one SKU in a cart, and the price of one unit as it was shown when the line was last touched.

    `hold` is the token of its hold, "" where nothing is held for it. Until `until_ms` the price shown is honoured, and
    the hold lives; `held_since_ms` is when the line's first hold was made, since a hold's whole life is bounded.
    `is_of_quantity` says whether that price depended on how many units there are.
    """

    sku: str
    variant_id: str
    quantity: int
    hold: str
    held_since_ms: int
    until_ms: int
    unit_price: int
    discount: int
    final_price: int
    applied_rules: tuple[AppliedRule, ...]
    user_tier: str | None = None
    promo_code: str | None = None
    price_changed: bool = False
    is_of_quantity: bool = False


class CartRecord(Struct, frozen=True, array_like=True, gc=False):
    """A cart as Redis keeps it; `version` grows with every change. Times are ms since 1970 by Redis' clock.

    `customer` is "" for a guest, `currency` and `coupon` (its code) are "" for none. `order` is the token of the order
    that it became or is being paid as, or that was given up; any change of a line forgets the latter. `nonce` tells
    this version from one that another process made of the same cart in the same moment. `shown_discount` is what its
    coupon took off when it was last touched, or when it was ordered.
    """

    version: int
    status: CartStatus
    customer: str
    currency: str
    created_ms: int
    expires_ms: int
    lines: tuple[CartLine, ...] = ()
    coupon: str = ""
    order: str = ""
    nonce: str = ""
    shown_discount: int | None = None

    def line(self, sku: str) -> CartLine | None:
        for line in self.lines:
            if line.sku == sku:
                return line
        return None


class CartItem(Struct, frozen=True, array_like=True, gc=False):
    """A line as it stands at one moment; money for one unit, `total_price` for all of them."""

    sku: str
    variant_id: str
    quantity: int
    unit_price: int
    discount: int
    final_price: int
    total_price: int
    applied_rules: tuple[AppliedRule, ...]
    reserved_until_ms: int | None
    status: ItemStatus
    price_changed: bool


class NotMerged(Struct, frozen=True, array_like=True, gc=False):
    """A line of which a merge could not keep everything: units wanted of it, units kept, and why."""

    sku: str
    requested: int
    kept: int
    reason: str


class Cart(Struct, frozen=True, array_like=True, gc=False):
    """A cart as it stands at one moment: `total = subtotal - discount`, the discount being its coupon's.

    `coupon_note` says why a coupon takes nothing off just now; `is_new` that it was made for who asked.
    """

    token: str
    status: CartStatus
    customer_id: str | None
    items: tuple[CartItem, ...]
    subtotal: int
    discount: int
    total: int
    currency: str | None
    coupon: str | None
    coupon_note: str | None
    created_ms: int
    expires_ms: int
    order_token: str | None = None
    not_merged: tuple[NotMerged, ...] = ()
    is_new: bool = False

    @property
    def id(self) -> str:
        return ID_PREFIX + self.token


class Scene(Struct, frozen=True, gc=False):
    """What a change of a cart or an order is judged by: the catalogue, the settings, and Redis' clock in ms."""

    catalogue: Catalogue
    settings: Settings
    now_ms: int

    def product_of(self, line: CartLine) -> tuple[Product, Variant] | None:
        """What a line is of, as long as the catalogue has it at all."""
        variant = self.catalogue.variant(line.variant_id)
        product = None if variant is None else self.catalogue.product(variant.product_id)
        return None if product is None or variant is None else (product, variant)

    def is_priced_in(self, line: CartLine, currency: str) -> bool:
        """Whether the shop asks for this currency for it; what is no more has none."""
        found = self.product_of(line)
        return found is not None and found[0].currency == currency

    def is_sold(self, product: Product, variant: Variant) -> bool:
        """Whether the shop sells it now."""
        return product.status is ProductStatus.ACTIVE and not variant.retired

    def price_today(self, line: CartLine) -> Price | None:
        """What a unit of so many costs now; None for what is no more."""
        found = self.product_of(line)
        if found is None:
            return None
        product, variant = found
        return quote(
            self.catalogue,
            product,
            variant,
            quantity=line.quantity,
            user_tier=line.user_tier,
            promo_code=line.promo_code,
            at_ms=self.now_ms,
        )

    def honours(self, line: CartLine) -> bool:
        """Whether the price that was shown is the one that counts."""
        return self.settings.price_policy == "locked" and self.now_ms < line.until_ms

    def keeps_price(self, line: CartLine, quantity: int, today: Price) -> bool:
        """Whether so many units, for which `today` is asked, may have the price that was shown for the line's.

        It must count still, and not depend on the quantity: neither as rules are today, nor as they were then.
        """
        before = self.price_today(line)
        return (
            before is not None
            and before.final_price == today.final_price
            and self.honours(line)
            and (quantity == line.quantity or not line.is_of_quantity)
        )

    def is_of_quantity(self, price: Price) -> bool:
        """Whether another number of units might have another price than this one of today."""
        found = [(applied.kind, self.catalogue.rule(applied.rule_id)) for applied in price.applied_rules]
        return any(kind in OF_QUANTITY or (rule is not None and rule.min_quantity is not None) for kind, rule in found)

    def is_repriced(self, line: CartLine) -> bool:
        """Whether the line's own units cost another price now than was shown."""
        today = self.price_today(line)
        return today is not None and today.final_price != line.final_price

    def is_held(self, line: CartLine) -> bool:
        return line.hold != "" and self.now_ms < line.until_ms


decode_cart = msgspec.json.Decoder(CartRecord).decode


def appraise(scene: Scene, token: str, record: CartRecord) -> Cart:
    """A cart with today's prices where those shown count no more, and what its coupon takes off."""
    items = tuple([_appraise_line(scene, record, line) for line in record.lines])
    subtotal = sum([item.total_price for item in items])
    discount, note = _coupon_discount(scene, record, items)
    return Cart(
        token=token,
        status=record.status,
        customer_id=record.customer or None,
        items=items,
        subtotal=subtotal,
        discount=discount,
        total=subtotal - discount,
        currency=record.currency or None,
        coupon=record.coupon or None,
        coupon_note=note,
        created_ms=record.created_ms,
        expires_ms=record.expires_ms,
        order_token=record.order if record.order and record.status in ("ordered", "paying") else None,
    )


def _appraise_line(scene: Scene, record: CartRecord, line: CartLine) -> CartItem:
    unit_price, discount, final_price, applied = line.unit_price, line.discount, line.final_price, line.applied_rules
    changed = line.price_changed
    today = None if record.status != "open" or scene.honours(line) else scene.price_today(line)
    if today is not None and scene.is_priced_in(line, record.currency):
        unit_price, discount, final_price = today.unit_price, today.discount, today.final_price
        applied = today.applied_rules
        changed = changed or final_price != line.final_price
    status: ItemStatus = "held" if scene.is_held(line) else "expired"
    if not line.hold and scene.settings.reserve_on == "checkout":
        status = "listed"
    return CartItem(
        sku=line.sku,
        variant_id=line.variant_id,
        quantity=line.quantity,
        unit_price=unit_price,
        discount=discount,
        final_price=final_price,
        total_price=final_price * line.quantity,
        applied_rules=applied,
        reserved_until_ms=line.until_ms if line.hold else None,
        status=status,
        price_changed=changed,
    )


def shown(scene: Scene, token: str, record: CartRecord) -> tuple[CartRecord, Cart]:
    """A cart that was just touched, as its shopper is shown it; and what was shown, to be kept."""
    cart = appraise(scene, token, record)
    return replace(record, shown_discount=cart.discount), cart


def _coupon_discount(scene: Scene, record: CartRecord, items: tuple[CartItem, ...]) -> tuple[int, str | None]:
    if not record.coupon:
        return 0, None
    if record.status != "open" and record.shown_discount is not None:
        return record.shown_discount, None
    coupon = scene.catalogue.coupon(record.coupon)
    if coupon is None:
        return 0, Refusal.UNKNOWN_COUPON
    found = discount_of(coupon, [CouponLine(_product_id(scene, i), i.total_price) for i in items], scene.now_ms)
    return (0, found) if isinstance(found, Objection) else (found, None)


def _product_id(scene: Scene, item: CartItem) -> str:
    variant = scene.catalogue.variant(item.variant_id)
    return "" if variant is None else variant.product_id


def price_changes(record: CartRecord, cart: Cart) -> tuple[PriceChange, ...]:
    """The lines that cost another price now than their shopper was shown."""
    pairs = zip(record.lines, cart.items, strict=True)
    changes = [
        PriceChange(line.sku, line.final_price, item.final_price)
        for line, item in pairs
        if line.final_price != item.final_price
    ]
    return tuple(changes)


def unusable(record: CartRecord, named_customer: str | None) -> Refused | None:
    """Why a cart cannot be changed by who names this customer (None: nobody); None when it can."""
    if named_customer is not None and record.customer not in ("", named_customer):
        return Refused(Refusal.FOREIGN_CART)
    match record.status:
        case "paying":
            return Refused(Refusal.PAYMENT_PENDING, order_token=record.order)
        case "ordered":
            return Refused(Refusal.CART_ORDERED, order_token=record.order)
        case "merged":
            return Refused(Refusal.CART_MERGED)
    return None


def renewed(scene: Scene, record: CartRecord, **changes: object) -> CartRecord:
    """The next version of a cart, whose life begins anew."""
    fresh = replace(record, version=record.version + 1, nonce=fresh_nonce(), **changes)
    return replace(fresh, expires_ms=scene.now_ms + _life_ms(scene, fresh))


def _life_ms(scene: Scene, record: CartRecord) -> int:
    """How long a cart is kept after a change; one that is being paid longer than its payment's window in any case."""
    settings = scene.settings
    match record.status:
        case "open":
            life_s = settings.cart_life_s
        case "paying":
            life_s = max(settings.cart_life_s, settings.payment_window_s + PAYING_GRACE_S)
        case _:
            life_s = settings.retention_s
    return life_s * 1000


def priced_as(line: CartLine, price: Price | CartItem | CartLine) -> CartLine:
    """The line at the price of something else."""
    return replace(
        line,
        unit_price=price.unit_price,
        discount=price.discount,
        final_price=price.final_price,
        applied_rules=price.applied_rules,
    )


def unheld(record: CartRecord) -> tuple[CartLine, ...]:
    """Its lines, for which nothing is held any more."""
    return tuple(replace(line, hold="", until_ms=0) for line in record.lines)


def over(scene: Scene, record: CartRecord, status: Literal["ordered", "merged"]) -> CartRecord:
    """A cart at its end: what was held for it is sold, or another cart's."""
    return renewed(scene, record, status=status, lines=unheld(record))


def known_cart(token: str, record: CartRecord | None) -> Known:
    return Known("cart", token, 0 if record is None else record.version)


def put_cart(scene: Scene, token: str, record: CartRecord) -> tuple[Put, ...]:
    """What writes a cart, and the pointer of its customer to it as long as it is the live one."""
    life_ms = _life_ms(scene, record)
    cart = Put("cart", token, msgspec.json.encode(record), life_ms)
    if not record.customer:
        return (cart,)
    if record.status in LIVE:
        return cart, pointer_to(record.customer, token, life_ms)
    return cart, Put("customer", customer_token(record.customer), b"", 0)


def pointer_to(customer_id: str, token: str, keep_ms: int) -> Put:
    """What makes a cart the live one of a customer."""
    text = msgspec.json.encode((pointer_version(token), token))
    return Put("customer", customer_token(customer_id), text, keep_ms)


def pointer_version(token: str) -> int:
    """The version of a pointer: another one for each cart that it leads to."""
    return 1 + crc32(token.encode())


@lru_cache(maxsize=4_096)
def customer_token(customer_id: str) -> str:
    """What a customer's id becomes in a key: of bounded length, whatever characters it has."""
    return derive_token("", "customer", customer_id)


_decode_pointer = msgspec.json.Decoder(tuple[int, str]).decode


def token_of_pointer(text: str) -> str:
    """The token of the cart that a pointer leads to."""
    return _decode_pointer(text)[1]
