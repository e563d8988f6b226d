"""Expire: give back the units of holds past their deadline. Only housekeeping: the scripts judge by themselves."""

from __future__ import annotations

import asyncio

from engine.settings import Settings, read_settings
from engine.shard import SWEEP_HOLDS
from jobs.resources import open_resources

MAX_SWEEPS = 1_000


def expire() -> int:
    """The job; returns how many holds ended."""
    return asyncio.run(_expire(read_settings()))


async def _expire(settings: Settings) -> int:
    total = 0
    async with open_resources(settings) as resources:
        for _ in range(MAX_SWEEPS):
            ended = await resources.shard.expire_due(SWEEP_HOLDS)
            total += ended
            if ended < SWEEP_HOLDS:
                break
    return total
