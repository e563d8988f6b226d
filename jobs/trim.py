"""Trim: let go of answers and carts that nobody may ask for any more, and of the flush's steps that no repair needs."""

from __future__ import annotations

import asyncio

from engine.settings import Settings, read_settings
from jobs.resources import open_resources
from persistence import carts, catalogue, idempotency
from persistence.repair import STEPS_KEPT_S
from persistence.sql import queries

DAY_S = 86_400  # the contract's least for remembered answers


def trim() -> None:
    """The job."""
    asyncio.run(_trim(read_settings()))


async def _trim(settings: Settings) -> None:
    async with open_resources(settings) as resources:
        async with resources.pool.acquire() as connection:
            await connection.execute(queries("flush")["delete_old_memories"], settings.retention_s)
            await connection.execute(queries("flush")["delete_old_steps"], STEPS_KEPT_S)
        await idempotency.purge(resources.pool, max(settings.retention_s, DAY_S))
        await catalogue.purge_deletions(resources.pool)
        await carts.purge(resources.pool, settings.retention_s)
