"""Orders, as much of them as both sides must agree on."""

from __future__ import annotations

from msgspec import Struct


class OrderItem(Struct, frozen=True):
    """Units of one SKU; money in minor units and for one unit, `total_price` for all of them."""

    sku: str
    quantity: int
    unit_price: int
    discount: int
    final_price: int
    total_price: int


class Order(Struct, frozen=True):
    """An order; money in minor units of `currency`."""

    id: str
    cart_id: str
    customer_id: str | None
    currency: str
    subtotal: int
    discount: int
    total: int
    items: tuple[OrderItem, ...]
