"""Expire: give back the units of holds past their deadline. Only housekeeping: the scripts judge by themselves."""

from __future__ import annotations

import asyncio

from engine.settings import Settings, read_settings
from engine.shard import SWEEP_HOLDS
from jobs.lingering import Linger
from jobs.resources import open_resources
from jobs.timetable import HOUSEKEEPING_QUEUE

PAUSE_S = 0.5


def expire() -> int:
    """The job; returns how many holds ended. Lingers (jobs/lingering.py), sweeping every PAUSE_S."""
    return asyncio.run(_expire(read_settings()))


async def _expire(settings: Settings) -> int:
    linger, total = Linger(HOUSEKEEPING_QUEUE), 0
    async with open_resources(settings) as resources:
        while True:
            ended = await resources.shard.expire_due(SWEEP_HOLDS)
            total += ended
            if ended == SWEEP_HOLDS:
                continue
            if await linger.is_over(resources.redis):
                return total
            await linger.pause(PAUSE_S)
