"""Variants in PostgreSQL. Who writes has begun a change (persistence/catalogue.py) and judged it."""

from __future__ import annotations

import asyncpg

from engine.catalogue import Variant
from engine.errors import HoldfastError
from persistence.pool import Connection
from persistence.products import decode_attributes, encode_attributes
from persistence.sql import queries


async def list_since(connection: Connection, version: int) -> list[asyncpg.Record]:
    """Rows of what changed after `version`, in no order; `variant_of` reads one (a long list, in a thread)."""
    return await connection.fetch(queries("variants")["list_since"], version)


async def insert(connection: Connection, variant: Variant) -> Variant:
    """The variant as it is stored; its position and times are the database's."""
    row = await connection.fetchrow(
        queries("variants")["insert_variant"],
        variant.id,
        variant.product_id,
        variant.sku,
        encode_attributes(variant.attributes),
        variant.price_adjustment,
        variant.version,
    )
    return _stored(row)


async def update(connection: Connection, variant: Variant) -> Variant:
    """The variant as it is stored."""
    row = await connection.fetchrow(
        queries("variants")["update_variant"],
        variant.id,
        variant.product_id,
        encode_attributes(variant.attributes),
        variant.price_adjustment,
        variant.retired,
        variant.version,
    )
    return _stored(row)


async def delete(connection: Connection, variant_id: str) -> None:
    await connection.execute(queries("variants")["delete_variant"], variant_id)


def _stored(row: asyncpg.Record | None) -> Variant:
    if row is None:
        raise HoldfastError("a variant went away under the lock of the catalogue")
    return variant_of(row)


def variant_of(row: asyncpg.Record) -> Variant:
    """A row as the domain knows it."""
    return Variant(
        id=row["id"],
        product_id=row["product_id"],
        sku=row["sku"],
        attributes=decode_attributes(row["attributes"]),
        price_adjustment=row["price_adjustment"],
        retired=row["retired"],
        position=row["position"],
        version=row["version"],
        created_ms=row["created_at"],
        updated_ms=row["updated_at"],
    )
