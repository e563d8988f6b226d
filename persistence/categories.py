"""Categories in PostgreSQL. Who writes has begun a change (persistence/catalogue.py) and judged it."""

from __future__ import annotations

import asyncpg

from engine.catalogue import Category
from engine.errors import HoldfastError
from persistence.pool import Connection
from persistence.sql import queries


async def list_since(connection: Connection, version: int) -> list[Category]:
    """What changed after `version`, in no order."""
    return [_category(row) for row in await connection.fetch(queries("categories")["list_since"], version)]


async def insert(connection: Connection, category: Category) -> Category:
    """The category as it is stored; its position and times are the database's."""
    return await _write(connection, "insert_category", category)


async def update(connection: Connection, category: Category) -> Category:
    """The category as it is stored."""
    return await _write(connection, "update_category", category)


async def delete(connection: Connection, category_id: str) -> None:
    await connection.execute(queries("categories")["delete_category"], category_id)


async def _write(connection: Connection, query: str, category: Category) -> Category:
    row = await connection.fetchrow(
        queries("categories")[query],
        category.id,
        category.name,
        category.slug,
        category.parent_id,
        category.version,
    )
    if row is None:
        raise HoldfastError("a category went away under the lock of the catalogue")
    return _category(row)


def _category(row: asyncpg.Record) -> Category:
    return Category(
        id=row["id"],
        name=row["name"],
        slug=row["slug"],
        parent_id=row["parent_id"],
        position=row["position"],
        version=row["version"],
        created_ms=row["created_at"],
        updated_ms=row["updated_at"],
    )
