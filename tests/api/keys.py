"""API keys for tests: made and revoked in the database, past the command line."""

from __future__ import annotations

import asyncio

from engine.settings import Settings
from persistence import api_keys
from persistence.api_keys import ApiKey, Scope
from persistence.pool import connect


def make_key(settings: Settings, scope: Scope) -> tuple[ApiKey, str]:
    """A new key and its secret."""

    async def make() -> tuple[ApiKey, str]:
        pool = await connect(settings.require_database_url(), 1)
        try:
            return await api_keys.create(pool, f"test {scope}", scope)
        finally:
            await pool.close()

    return asyncio.run(make())


def revoke_key(settings: Settings, key_id: str) -> None:
    """End a key as `holdfast keys revoke` does."""

    async def revoke() -> None:
        pool = await connect(settings.require_database_url(), 1)
        try:
            await api_keys.revoke(pool, key_id)
        finally:
            await pool.close()

    asyncio.run(revoke())


def bearing(secret: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {secret}"}
