"""Coupons in PostgreSQL. Who writes has begun a change (persistence/catalogue.py) and judged it."""

from __future__ import annotations

import asyncpg

from engine.coupons import Coupon
from engine.errors import HoldfastError
from persistence.pool import Connection
from persistence.sql import queries


async def list_since(connection: Connection, version: int) -> list[Coupon]:
    """What changed after `version`, in no order."""
    return [_coupon(row) for row in await connection.fetch(queries("coupons")["list_since"], version)]


async def insert(connection: Connection, coupon: Coupon) -> Coupon:
    """The coupon as it is stored; its position and times are the database's."""
    return await _write(connection, "insert_coupon", coupon)


async def update(connection: Connection, coupon: Coupon) -> Coupon:
    """The coupon as it is stored."""
    return await _write(connection, "update_coupon", coupon)


async def delete(connection: Connection, coupon_id: str) -> None:
    await connection.execute(queries("coupons")["delete_coupon"], coupon_id)


async def _write(connection: Connection, query: str, coupon: Coupon) -> Coupon:
    row = await connection.fetchrow(
        queries("coupons")[query],
        coupon.id,
        coupon.code,
        coupon.kind,
        coupon.value,
        coupon.min_order_value,
        coupon.usage_limit,
        coupon.per_customer_limit,
        coupon.applicable_products,
        coupon.starts_ms,
        coupon.ends_ms,
        coupon.version,
    )
    if row is None:
        raise HoldfastError("a coupon went away under the lock of the catalogue")
    return _coupon(row)


def _coupon(row: asyncpg.Record) -> Coupon:
    products = row["applicable_products"]
    return Coupon(
        id=row["id"],
        code=row["code"],
        kind=row["kind"],
        value=row["value"],
        min_order_value=row["min_order_value"],
        usage_limit=row["usage_limit"],
        per_customer_limit=row["per_customer_limit"],
        applicable_products=None if products is None else tuple(products),
        starts_ms=row["starts_at"],
        ends_ms=row["ends_at"],
        position=row["position"],
        version=row["version"],
        created_ms=row["created_at"],
        updated_ms=row["updated_at"],
    )
