"""The bodies that are sent, with the constraints that Holdfast puts on them, and answers of the shape that it gives."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Sku = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+(?![\s\S])")]
Quantity = Annotated[int, Meta(ge=1, le=10_000)]
CustomerId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*(?![\s\S])")]
Reference = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*(?![\s\S])")]

DEFAULT_TTL_S = 600


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """Units of one SKU."""

    sku: Sku
    quantity: Quantity


class HoldBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A hold that is asked for."""

    lines: Annotated[list[Line], Meta(min_length=1, max_length=100)]
    customer_id: CustomerId | None = None
    ttl_s: Annotated[int, Meta(ge=1, le=86_400)] = DEFAULT_TTL_S


class BatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Holds that are asked for in one call."""

    holds: Annotated[list[HoldBody], Meta(min_length=1, max_length=500)]


class CommitBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A sale's reference."""

    reference: Reference | None = None


class CartBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose cart it shall be."""

    customer_id: CustomerId | None = None


class ItemBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Units for a cart."""

    sku: Sku
    quantity: Quantity
    user_tier: CustomerId | None = None
    promo_code: CustomerId | None = None
    customer_id: CustomerId | None = None


class CheckoutBody(Struct, frozen=True, forbid_unknown_fields=True):
    """How a cart is ordered."""

    customer_id: CustomerId | None = None
    payment: Literal["captured", "pending"] = "captured"


class HoldAnswer(Struct, frozen=True):
    """A hold."""

    id: str
    status: str
    lines: list[Line]
    customer_id: str | None
    created_at: str
    expires_at: str


class ShortLine(Struct, frozen=True):
    """A line that there was not enough for."""

    sku: str
    requested: int
    available: int


class Refusal(Struct, frozen=True):
    """A problem as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    lines: list[ShortLine]


class BatchItem(Struct, frozen=True):
    """What became of one hold of a batch."""

    status: int
    hold: HoldAnswer


class BatchAnswer(Struct, frozen=True):
    """What became of a batch."""

    results: list[BatchItem]


class ItemAnswer(Struct, frozen=True, kw_only=True):
    """A line of a cart or an order."""

    sku: str
    variant_id: str
    quantity: int
    unit_price: int
    discount: int
    final_price: int
    total_price: int
    applied_rules: list[str]
    reserved_until: str
    status: str
    price_changed: bool


class CartAnswer(Struct, frozen=True, kw_only=True):
    """A cart."""

    id: str
    customer_id: str | None
    status: str
    items: list[ItemAnswer]
    subtotal: int
    discount: int
    total: int
    currency: str | None
    coupon: str | None
    coupon_note: str | None
    created_at: str
    expires_at: str
    order_id: str | None


class Payment(Struct, frozen=True):
    """How an order is paid."""

    status: str
    transaction_id: str | None
    expires_at: str | None


class Moment(Struct, frozen=True):
    """A status and when it was taken."""

    status: str
    at: str


class OrderAnswer(Struct, frozen=True, kw_only=True):
    """An order."""

    id: str
    cart_id: str
    customer_id: str | None
    status: str
    items: list[ItemAnswer]
    subtotal: int
    discount: int
    total: int
    currency: str
    coupon: str | None
    payment: Payment
    timeline: list[Moment]
    tracking_number: str | None
    refund_due: str | None
    created_at: str
    updated_at: str
