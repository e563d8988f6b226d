"""Pricing rules in PostgreSQL. Who writes has begun a change (persistence/catalogue.py) and judged it."""

from __future__ import annotations

import asyncpg

from engine.errors import HoldfastError
from engine.pricing import Rule
from persistence.pool import Connection
from persistence.sql import queries


async def list_since(connection: Connection, version: int) -> list[Rule]:
    """What changed after `version`, in no order."""
    return [_rule(row) for row in await connection.fetch(queries("pricing_rules")["list_since"], version)]


async def insert(connection: Connection, rule: Rule) -> Rule:
    """The rule as it is stored; its position and times are the database's."""
    return await _write(connection, "insert_rule", rule)


async def update(connection: Connection, rule: Rule) -> Rule:
    """The rule as it is stored."""
    return await _write(connection, "update_rule", rule)


async def delete(connection: Connection, rule_id: str) -> None:
    await connection.execute(queries("pricing_rules")["delete_rule"], rule_id)


async def _write(connection: Connection, query: str, rule: Rule) -> Rule:
    row = await connection.fetchrow(
        queries("pricing_rules")[query],
        rule.id,
        rule.name,
        rule.kind,
        rule.priority,
        rule.active,
        rule.stacking,
        rule.min_quantity,
        rule.user_tier,
        rule.promo_code,
        rule.product_id,
        rule.variant_id,
        rule.category_id,
        rule.starts_ms,
        rule.ends_ms,
        rule.percent,
        rule.amount,
        rule.price,
        rule.buy_quantity,
        rule.get_quantity,
        rule.version,
    )
    if row is None:
        raise HoldfastError("a pricing rule went away under the lock of the catalogue")
    return _rule(row)


def _rule(row: asyncpg.Record) -> Rule:
    return Rule(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        priority=row["priority"],
        active=row["active"],
        stacking=row["stacking"],
        min_quantity=row["min_quantity"],
        user_tier=row["user_tier"],
        promo_code=row["promo_code"],
        product_id=row["product_id"],
        variant_id=row["variant_id"],
        category_id=row["category_id"],
        starts_ms=row["starts_at"],
        ends_ms=row["ends_at"],
        percent=row["percent"],
        amount=row["amount"],
        price=row["price"],
        buy_quantity=row["buy_quantity"],
        get_quantity=row["get_quantity"],
        position=row["position"],
        version=row["version"],
        created_ms=row["created_at"],
        updated_ms=row["updated_at"],
    )
