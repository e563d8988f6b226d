"""Nudges: what asks for a flush is never lost, not even to another nudge."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from engine.settings import Settings
from jobs.timetable import FLUSH_QUEUE, nudge_flush, queue_key
from tests.jobs.processes import Processes, applied, horse_of, until
from tests.system import System

pytestmark = pytest.mark.anyio


async def test_a_nudge_that_comes_while_another_is_at_work_takes_over_without_any_scheduler(
    system: System, processes: Processes, settings: Settings
) -> None:
    await system.create("A", 100)
    worker = processes.worker("flush")
    first = await horse_of(worker)
    await applied(system)
    with Redis.from_url(settings.require_redis_url()) as redis:
        await asyncio.to_thread(nudge_flush, redis)

    async def took_over() -> bool:
        return not await system.raw.llen(queue_key(FLUSH_QUEUE)) and not first.is_running()

    await until(took_over, "the first nudge made way")
    await asyncio.sleep(0.5)
    await system.hold("A")
    assert await applied(system, 5) < 5
