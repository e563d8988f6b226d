"""Orders: what a checkout makes of a cart. Its prices are a copy that no later rule touches."""

from __future__ import annotations

import enum
import re
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.coupons import Coupon
from engine.idempotency import fresh_nonce
from engine.pricing import AppliedRule
from engine.settings import Settings
from engine.trade import Counted, Known, Put

ID_PREFIX = "ord_"
_ID = re.compile(rf"{ID_PREFIX}[A-Za-z0-9_-]{{22}}-[0-9a-f]+\Z")
LIVE_KEPT_MS = 30 * 86_400_000
"""An order that may still change leaves Redis this long after its last change; it comes back from PostgreSQL."""


def is_order_id(text: str) -> bool:
    """Whether this has the form of an order's id here, whether or not there is such an order."""
    return _ID.match(text) is not None


class OrderStatus(enum.StrEnum):
    """Where an order is. `refund_due`: it was paid when its units could no longer be had."""

    CREATED = "created"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    COMPLETED = "completed"
    CANCELED = "canceled"
    RETURNED = "returned"
    REFUND_DUE = "refund_due"


class PaymentStatus(enum.StrEnum):
    """Where a payment is; the last three settle it."""

    PENDING = "pending"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL = frozenset({OrderStatus.COMPLETED, OrderStatus.CANCELED, OrderStatus.RETURNED})
SETTLED = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.FAILED, PaymentStatus.CANCELED})
TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.CREATED: frozenset({OrderStatus.PROCESSING, OrderStatus.CANCELED}),
    OrderStatus.PROCESSING: frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELED}),
    OrderStatus.SHIPPED: frozenset({OrderStatus.DELIVERED, OrderStatus.RETURNED}),
    OrderStatus.DELIVERED: frozenset({OrderStatus.COMPLETED, OrderStatus.RETURNED}),
    OrderStatus.REFUND_DUE: frozenset({OrderStatus.CANCELED}),
}

Stock = Literal["held", "sold", "none", "returned"]


class OrderItem(Struct, frozen=True, array_like=True, gc=False):
    """Units of one SKU in an order; money for one unit, `total_price` for all of them."""

    sku: str
    variant_id: str
    product_id: str
    name: str
    quantity: int
    unit_price: int
    discount: int
    final_price: int
    total_price: int
    applied_rules: tuple[AppliedRule, ...]


class Step(Struct, frozen=True, array_like=True, gc=False):
    """A status that an order took, when (ms since 1970 by Redis' clock), and why where that is not plain."""

    status: OrderStatus
    at_ms: int
    reason: str = ""


class Payment(Struct, frozen=True, array_like=True, gc=False):
    """How an order is paid: `first_status` is what the checkout answered, `until_ms` the end of its window."""

    status: PaymentStatus
    first_status: PaymentStatus
    until_ms: int
    transaction_id: str = ""


class OrderRecord(Struct, frozen=True, array_like=True, gc=False):
    """An order as Redis keeps it; `version` grows with every change. Money in minor units of `currency`.

    `customer` is "" for a guest; `coupon_id` and `coupon` (its code) are "" for none. `stock` says where its units are:
    in the holds `holds`, sold, given up before they were sold, or back on the shelf. `nonce` tells this version from
    one that another process made of the same order in the same moment.
    """

    version: int
    status: OrderStatus
    customer: str
    cart_token: str
    fingerprint: str
    currency: str
    created_ms: int
    updated_ms: int
    subtotal: int
    discount: int
    total: int
    coupon_id: str
    coupon: str
    is_coupon_counted: bool
    payment: Payment
    stock: Stock
    holds: tuple[str, ...]
    items: tuple[OrderItem, ...]
    timeline: tuple[Step, ...]
    tracking_number: str = ""
    refund_reason: str = ""
    nonce: str = ""

    @property
    def is_waiting(self) -> bool:
        """Whether units are held for it until its payment settles."""
        return self.stock == "held"

    @property
    def wants_coupon(self) -> bool:
        """Whether it has a coupon that is not counted for it, or no more."""
        return self.coupon_id != "" and not self.is_coupon_counted

    def as_first_answered(self) -> OrderRecord:
        """The order as its checkout answered it, for the replay of that."""
        first = self.payment.first_status
        return replace(
            self,
            version=1,
            status=OrderStatus.CREATED,
            updated_ms=self.created_ms,
            payment=Payment(first, first, self.payment.until_ms),
            timeline=self.timeline[:1],
            tracking_number="",
            refund_reason="",
            nonce="",
        )


class Order(Struct, frozen=True, array_like=True, gc=False):
    """An order with its token."""

    token: str
    record: OrderRecord

    @property
    def id(self) -> str:
        return ID_PREFIX + self.token


decode_order = msgspec.json.Decoder(OrderRecord).decode


def moved(record: OrderRecord, status: OrderStatus, now_ms: int, reason: str = "", **changes: object) -> OrderRecord:
    """The next version of an order, in another status."""
    timeline = (*record.timeline, Step(status, now_ms, reason))
    return changed(record, now_ms, status=status, timeline=timeline, **changes)


def changed(record: OrderRecord, now_ms: int, **changes: object) -> OrderRecord:
    """The next version of an order."""
    return replace(record, version=record.version + 1, nonce=fresh_nonce(), updated_ms=now_ms, **changes)


def kept_ms(record: OrderRecord, settings: Settings) -> int:
    """How long Redis keeps an order after its last change."""
    retention_ms = settings.retention_s * 1000
    return retention_ms if record.status in TERMINAL else retention_ms + LIVE_KEPT_MS


def put_order(token: str, record: OrderRecord, settings: Settings) -> Put:
    return Put("order", token, msgspec.json.encode(record), kept_ms(record, settings))


def counted(record: OrderRecord, by: int, coupon: Coupon | None = None) -> tuple[Counted, ...]:
    """How the order's coupon is counted, for all and for its customer; nothing where it has none.

    Its limits count where the `coupon` is told: when it is used, not when it is given back.
    """
    if not record.coupon_id:
        return ()
    usage_limit, customer_limit = (None, None) if coupon is None else (coupon.usage_limit, coupon.per_customer_limit)
    for_all = Counted(record.coupon_id, by, usage_limit)
    if not record.customer:
        return (for_all,)
    return (for_all, Counted(record.coupon_id, by, customer_limit, record.customer))


class KnownOrder(Struct, frozen=True):
    """An order as it was read, and the version that Redis has of it: 0 where only PostgreSQL has it."""

    order: Order
    version: int

    @property
    def known(self) -> Known:
        return Known("order", self.order.token, self.version)
