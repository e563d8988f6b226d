"""Holds as PostgreSQL knows them: the flushed ones, live or ended."""

from __future__ import annotations

from functools import lru_cache

import asyncpg
import msgspec

from engine.events import Lines
from engine.holds import ID_PREFIX, Hold, HoldStatus, Line
from persistence.pool import Pool
from persistence.sql import queries

_decode_lines = msgspec.json.Decoder(tuple[tuple[str, int], ...]).decode


@lru_cache(maxsize=4_096)
def lines_text(lines: Lines) -> str:
    """What a hold claims, as its row has it. Cached, since what sells well is claimed again and again."""
    return msgspec.json.encode(lines).decode()


def lines_of(row: asyncpg.Record) -> Lines:
    """What the hold of this row claims."""
    return _decode_lines(row["lines"])


async def find(pool: Pool, token: str) -> Hold | None:
    """The hold with this token, None when it was never made or not flushed yet."""
    return (await find_many(pool, [token])).get(token)


async def find_many(pool: Pool, tokens: list[str]) -> dict[str, Hold]:
    """Those of these holds that were made and flushed, by token."""
    rows = await pool.fetch(queries("holds")["find_holds"], [ID_PREFIX + token for token in tokens])
    return {hold.token: hold for hold in map(_hold, rows)}


async def overdue(pool: Pool, grace_s: float, limit: int) -> list[Hold]:
    """At most `limit` holds that are `held` although their deadline passed more than `grace_s` ago."""
    return [_hold(row) for row in await pool.fetch(queries("holds")["list_overdue"], grace_s, limit)]


def _hold(row: asyncpg.Record) -> Hold:
    return Hold(
        token=row["id"].removeprefix(ID_PREFIX),
        status=HoldStatus(row["status"]),
        customer_id=row["customer_id"],
        created_ms=row["created_at"],
        expires_ms=row["expires_at"],
        lines=tuple(Line(sku, quantity) for sku, quantity in lines_of(row)),
    )
