"""PostgreSQL for commands that need nothing else: the one that is set, otherwise that of the running `up`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cli.runtime import settings_for_command
from engine.settings import read_settings
from persistence.pool import Pool, connect

T = TypeVar("T")


def database_url() -> str:
    """Where it is. Raises SettingsError with what to do when nothing says so."""
    settings = read_settings()
    if settings.database_url is None:
        settings = settings_for_command(settings)
    return settings.require_database_url()


def with_database(work: Callable[[Pool], Awaitable[T]], connections: int = 1) -> T:
    """Do some work with a pool of so many connections, and close it."""

    async def run(url: str) -> T:
        pool = await connect(url, connections)
        try:
            return await work(pool)
        finally:
            await pool.close()

    return asyncio.run(run(database_url()))
