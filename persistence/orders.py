"""Orders as PostgreSQL keeps them: for as long as anybody asks, also after Redis let go of them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec
from msgspec import Struct

from engine import carts
from engine.orders import ID_PREFIX, Order, OrderItem, OrderRecord, decode_order
from persistence.pool import Connection, Pool
from persistence.sql import columns, queries

_NEWEST = (1 << 63) - 1

COLUMNS = (
    "id", "cart_id", "customer_id", "status", "currency", "subtotal", "discount", "total", "coupon_id", "coupon",
    "is_coupon_counted", "payment_status", "transaction_id", "payment_until", "stock", "tracking_number",
    "refund_reason", "version", "record", "created_at", "updated_at",
)  # fmt: skip
ITEM_COLUMNS = (
    "order_id", "position", "sku", "variant_id", "product_id", "name", "quantity", "unit_price", "discount",
    "final_price", "total_price", "applied_rules",
)  # fmt: skip


class PlacedOrder(Struct, frozen=True):
    """An order and its place in the lists: later orders have higher positions."""

    order: Order
    position: int


async def find(pool: Pool, token: str) -> OrderRecord | None:
    """The order with this token, None when there is none or it is not flushed yet."""
    text = await pool.fetchval(queries("orders")["find_order"], ID_PREFIX + token)
    return None if text is None else decode_order(text)


async def page(
    pool: Pool, *, customer_id: str | None, status: str | None, before: int | None, limit: int
) -> list[PlacedOrder]:
    """At most `limit` orders, newest first, below position `before`; of one customer or status where that is told."""
    sql, place = queries("orders"), _NEWEST if before is None else before
    if customer_id is not None:
        rows = await pool.fetch(sql["page_of_customer"], place, limit, customer_id, status)
    elif status is not None:
        rows = await pool.fetch(sql["page_of_status"], place, limit, status)
    else:
        rows = await pool.fetch(sql["page"], place, limit)
    return [
        PlacedOrder(Order(row["id"].removeprefix(ID_PREFIX), decode_order(row["record"])), row["position"])
        for row in rows
    ]


async def upsert(connection: Connection, orders: Mapping[str, OrderRecord], new: AbstractSet[str]) -> None:
    """Write orders by token, the items of new ones with them; a version that is not newer changes nothing.

    Those of `new` are copied: where one of them was there already, that is an error.
    """
    fresh = {token: record for token, record in orders.items() if token in new}
    if fresh:
        rows = [_row(token, record) for token, record in fresh.items()]
        await connection.copy_records_to_table("orders", records=rows, columns=COLUMNS)
        await connection.copy_records_to_table("order_items", records=_item_rows(fresh), columns=ITEM_COLUMNS)
    if len(fresh) < len(orders):
        await _upsert_older(connection, {token: record for token, record in orders.items() if token not in new})


async def _upsert_older(connection: Connection, orders: Mapping[str, OrderRecord]) -> None:
    sql = queries("orders")
    known = {row["id"] for row in await connection.fetch(sql["list_known"], [ID_PREFIX + token for token in orders])}
    await connection.execute(sql["upsert_orders"], *columns([_row(token, record) for token, record in orders.items()]))
    items = _item_rows({token: record for token, record in orders.items() if ID_PREFIX + token not in known})
    if items:
        await connection.execute(sql["insert_items"], *columns(items))


def _row(token: str, record: OrderRecord) -> tuple[object, ...]:
    payment = record.payment
    return (
        ID_PREFIX + token,
        carts.ID_PREFIX + record.cart_token,
        record.customer or None,
        record.status,
        record.currency,
        record.subtotal,
        record.discount,
        record.total,
        record.coupon_id or None,
        record.coupon or None,
        record.is_coupon_counted,
        payment.status,
        payment.transaction_id or None,
        payment.until_ms or None,
        record.stock,
        record.tracking_number or None,
        record.refund_reason or None,
        record.version,
        msgspec.json.encode(record).decode(),
        record.created_ms,
        record.updated_ms,
    )


def _item_rows(orders: Mapping[str, OrderRecord]) -> list[tuple[object, ...]]:
    return [
        _item_row(ID_PREFIX + token, position, item)
        for token, record in orders.items()
        for position, item in enumerate(record.items)
    ]


def _item_row(order_id: str, position: int, item: OrderItem) -> tuple[object, ...]:
    return (
        order_id,
        position,
        item.sku,
        item.variant_id,
        item.product_id,
        item.name,
        item.quantity,
        item.unit_price,
        item.discount,
        item.final_price,
        item.total_price,
        msgspec.json.encode([msgspec.structs.asdict(rule) for rule in item.applied_rules]).decode(),
    )
