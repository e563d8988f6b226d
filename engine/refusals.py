"""Refusals: the expected ways in which an operation changes nothing."""

from __future__ import annotations

import enum

from msgspec import Struct


class Refusal(enum.StrEnum):
    """Why an operation was refused. The values are the contract's codes, but for what is answered as a bad field."""

    KEY_REUSED = "idempotency-key-reused"
    UNKNOWN_SKU = "unknown-sku"
    UNKNOWN_HOLD = "unknown-hold"
    SKU_EXISTS = "sku-exists"
    INSUFFICIENT_STOCK = "insufficient-stock"
    COUNT_TOO_LARGE = "count-too-large"
    HOLD_EXPIRED = "hold-expired"
    HOLD_NOT_LIVE = "hold-not-live"
    CUSTOMER_LIMIT_EXCEEDED = "customer-limit-exceeded"
    UNKNOWN_CART = "unknown-cart"
    UNKNOWN_CART_ITEM = "unknown-cart-item"
    FOREIGN_CART = "forbidden"
    CART_ORDERED = "cart-ordered"
    CART_MERGED = "cart-merged"
    PAYMENT_PENDING = "payment-pending"
    CART_EMPTY = "cart-empty"
    CART_FULL = "cart-full"
    QUANTITY_TOO_LARGE = "quantity-too-large"
    CURRENCY_MISMATCH = "currency-mismatch"
    PRODUCT_DISCONTINUED = "product-discontinued"
    PRICE_CHANGED = "price-changed"
    UNKNOWN_COUPON = "unknown-coupon"
    COUPON_NOT_APPLICABLE = "coupon-not-applicable"
    COUPON_LIMIT_REACHED = "coupon-limit-reached"
    UNKNOWN_ORDER = "unknown-order"
    TRANSITION_NOT_ALLOWED = "transition-not-allowed"


class Shortfall(Struct, frozen=True):
    """A line that failed for want of stock: units asked for and units that anyone may reserve now."""

    sku: str
    requested: int
    available: int


class LimitReached(Struct, frozen=True):
    """A line that would give one customer more units than the SKU's `customer_limit`."""

    sku: str
    requested: int
    customer_limit: int


class PriceChange(Struct, frozen=True):
    """A line that costs another price now than its shopper was shown: both for one unit, in minor units."""

    sku: str
    shown: int
    now: int


class Refused(Struct, frozen=True):
    """An operation that changed nothing, and why; the further fields are filled as the refusal needs them.

    `reason` tells more of a refusal that has several causes, in words; `order_token` names the order of a cart.
    """

    refusal: Refusal
    skus: tuple[str, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    limits: tuple[LimitReached, ...] = ()
    hold_status: str | None = None
    prices: tuple[PriceChange, ...] = ()
    reason: str = ""
    order_token: str | None = None
