"""Products in PostgreSQL. Who writes has begun a change (persistence/catalogue.py) and judged it."""

from __future__ import annotations

import asyncpg
import msgspec

from engine.catalogue import AttributeValue, Product, ProductStatus
from engine.errors import HoldfastError
from persistence.pool import Connection
from persistence.sql import queries

decode_attributes = msgspec.json.Decoder(dict[str, AttributeValue]).decode


def encode_attributes(attributes: object) -> str:
    """Attributes as a jsonb parameter."""
    return msgspec.json.encode(attributes).decode()


async def list_since(connection: Connection, version: int) -> list[asyncpg.Record]:
    """Rows of what changed after `version`, in no order; `product_of` reads one (a long list, in a thread)."""
    return await connection.fetch(queries("products")["list_since"], version)


async def insert(connection: Connection, product: Product) -> Product:
    """The product as it is stored; its position and times are the database's."""
    return await _write(connection, "insert_product", product)


async def update(connection: Connection, product: Product) -> Product:
    """The product as it is stored."""
    return await _write(connection, "update_product", product)


async def delete(connection: Connection, product_id: str) -> None:
    await connection.execute(queries("products")["delete_product"], product_id)


async def _write(connection: Connection, query: str, product: Product) -> Product:
    row = await connection.fetchrow(
        queries("products")[query],
        product.id,
        product.name,
        product.description,
        product.base_price,
        product.currency,
        product.category_id,
        product.status,
        product.brand,
        list(product.tags),
        encode_attributes(product.attributes),
        product.version,
    )
    if row is None:
        raise HoldfastError("a product went away under the lock of the catalogue")
    return product_of(row)


def product_of(row: asyncpg.Record) -> Product:
    """A row as the domain knows it."""
    return Product(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        base_price=row["base_price"],
        currency=row["currency"],
        category_id=row["category_id"],
        status=ProductStatus(row["status"]),
        brand=row["brand"],
        tags=tuple(row["tags"]),
        attributes=decode_attributes(row["attributes"]),
        position=row["position"],
        version=row["version"],
        created_ms=row["created_at"],
        updated_ms=row["updated_at"],
    )
