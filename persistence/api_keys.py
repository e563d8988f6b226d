"""API keys: secrets that only their holders know; PostgreSQL keeps SHA-256 of each (they are 256 random bits)."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Literal

import asyncpg
from msgspec import Struct

from persistence.pool import Pool
from persistence.sql import queries

Scope = Literal["storefront", "operator"]
SECRET_PREFIX = "hf_"  # noqa: S105 - how a secret begins, not one
SECRET_BYTES = 32


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
    """End a key; None when there is no such key."""
    row = await pool.fetchrow(queries("api_keys")["revoke_key"], key_id)
    return None if row is None else _key(row)


def _key(row: asyncpg.Record) -> ApiKey:
    return ApiKey(row["id"], row["name"], row["scope"], row["created_at"], row["revoked_at"])
