"""API keys: secrets that only their holders know; PostgreSQL keeps SHA-256 of each (they are 256 random bits)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import asyncpg
from msgspec import Struct

from persistence.moments import timestamp_of
from persistence.pool import CONNECT_TIMEOUT_S, Pool
from persistence.sql import queries

Scope = Literal["storefront", "operator"]
SECRET_PREFIX = "hf_"  # noqa: S105 - how a secret begins, not one
SECRET_BYTES = 32
REVOCATIONS = "holdfast_key_revoked"
TOUCH_EVERY_S = 10.0
TOUCH_TIMEOUT_S = 5.0


class ApiKey(Struct, frozen=True):
    """Who may call, and what: `storefront` for shoppers' traffic, `operator` for everything."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    revoked_at: datetime | None


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


async def create(pool: Pool, name: str, scope: Scope) -> tuple[ApiKey, str]:
    """A new key and its secret, which is not kept and cannot be shown again."""
    secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    key_id = "key_" + secrets.token_hex(8)
    (row,) = await pool.fetch(queries("api_keys")["insert_key"], key_id, name, scope, hash_secret(secret))
    return _key(row), secret


async def find_by_hash(pool: Pool, secret_hash: bytes) -> ApiKey | None:
    """The key with this hash, revoked or not."""
    row = await pool.fetchrow(queries("api_keys")["find_key"], secret_hash)
    return None if row is None else _key(row)


async def list_all(pool: Pool) -> list[ApiKey]:
    """Every key, the oldest first."""
    return [_key(row) for row in await pool.fetch(queries("api_keys")["list_keys"])]


async def revoke(pool: Pool, key_id: str) -> ApiKey | None:
    """End a key, and tell every process that listens; None when there is no such key."""
    row = await pool.fetchrow(queries("api_keys")["revoke_key"], key_id, REVOCATIONS)
    return None if row is None else _key(row)


async def hear_revocations(
    database_url: str, on_listening: Callable[[], None], on_revoked: Callable[[str], None]
) -> None:
    """Tell the id of each key that is revoked after `on_listening` was called, until the connection is lost.

    A connection that leads nowhere any more is noticed within TOUCH_EVERY_S and TOUCH_TIMEOUT_S. Raises what asyncpg
    raises when PostgreSQL is out of reach.
    """
    lost = asyncio.Event()
    connection = await asyncpg.connect(
        database_url,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=TOUCH_TIMEOUT_S,
        server_settings={"application_name": "holdfast keys"},
    )
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(REVOCATIONS, lambda _connection, _pid, _channel, key_id: on_revoked(str(key_id)))
        on_listening()
        while not lost.is_set():
            try:
                async with asyncio.timeout(TOUCH_EVERY_S):
                    await lost.wait()
            except TimeoutError:
                await connection.execute(queries("api_keys")["touch_connection"])
    finally:
        connection.terminate()


def _key(row: asyncpg.Record) -> ApiKey:
    revoked_ms = row["revoked_at"]
    revoked_at = None if revoked_ms is None else timestamp_of(revoked_ms)
    return ApiKey(row["id"], row["name"], row["scope"], timestamp_of(row["created_at"]), revoked_at)
