"""Flush: drain the event log into PostgreSQL, then stay for what comes next until another nudge takes over."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from engine.events import entries_after
from engine.settings import Settings, read_settings
from jobs.lingering import MAX_LINGER_S, Linger
from jobs.resources import Resources, open_resources
from jobs.timetable import FLUSH_QUEUE
from persistence.flush import Drained, Offset, drain_once

WAIT_MS = 200
MIN_PACE_S, MAX_PACE_S = 0.02, 0.2
EVENTS_OF_FULL_PACE = 1_000
"""Time from one transaction to the next, by how many events the last one took: under load each takes many, since most
of its cost is its own, and what comes alone is applied at once."""
COLLECT_AFTER = 100_000
"""New objects after which Python looks for garbage. A run of events makes some ten each, which all go when it is
written; to walk over those that are still needed, at Python's 700, took a tenth of a drainer's time."""

LEASE_MS = 3_000
LEASE_PAUSE_S = 0.1

log = logging.getLogger(__name__)


def flush() -> None:
    """The job. Lingers (jobs/lingering.py), so that events are applied within milliseconds of being made."""
    with seldom_collecting():
        asyncio.run(_flush(read_settings(), linger_s=MAX_LINGER_S))


def flush_once(settings: Settings) -> None:
    """Drain what there is and return."""
    with seldom_collecting():
        asyncio.run(_flush(settings, linger_s=0))


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Let Python look for garbage only now and then."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def _flush(settings: Settings, linger_s: float) -> None:
    linger = Linger(FLUSH_QUEUE, linger_s)
    async with open_resources(settings) as resources:
        lease = _Lease(resources)
        while not await lease.take():
            # Its drainer may have been killed; then it runs out.
            if await linger.is_over(resources.redis):
                return
            await linger.pause(LEASE_PAUSE_S)
        try:
            while await lease.renew():
                drained = await drain(resources)
                if drained.events >= settings.flush_batch_events and not linger.is_broken_off():
                    continue
                if drained.events:
                    # It reached the log's end: time to make room under a steady load too.
                    if await linger.is_over(resources.redis):
                        return
                    await linger.pause(_pace_s(drained.events))
                    continue
                while not await _is_more(resources, drained.offset):
                    if await linger.is_over(resources.redis) or not await lease.renew():
                        return
        finally:
            await lease.give_back()


def _pace_s(events: int) -> float:
    return max(MIN_PACE_S, MAX_PACE_S * min(1.0, events / EVENTS_OF_FULL_PACE))


async def drain(resources: Resources) -> Drained:
    """One transaction's worth: apply, then let go of what is applied, and only of that."""
    async with resources.pool.acquire() as connection:
        max_events = resources.settings.flush_batch_events
        drained = await drain_once(connection, resources.redis, resources.keys, max_events)
    await resources.shard.acknowledge(drained.offset.seq)
    if drained.quarantined:
        log.error("%d events could not be applied and are set aside: holdfast quarantine list", drained.quarantined)
    return drained


async def _is_more(resources: Resources, applied: Offset) -> bool:
    """Wait a little for the event after `applied`."""
    return bool(await entries_after(resources.redis, resources.keys, applied.epoch, applied.seq, 1, WAIT_MS))


class _Lease:
    """Keeps other drainers from trying in vain. It guards nothing: the offset's row lock does."""

    def __init__(self, resources: Resources) -> None:
        self._redis = resources.redis
        self._key = resources.keys.flush_lease
        self._token = secrets.token_hex(8)
        self._renew_at = 0.0

    async def take(self) -> bool:
        return bool(await self._redis.set(self._key, self._token, nx=True, px=LEASE_MS))

    async def renew(self) -> bool:
        """Keep the lease; False when it is lost. Writes only now and then, since every write costs an fsync."""
        now = asyncio.get_running_loop().time()
        if now < self._renew_at:
            return True
        if await self._redis.get(self._key) != self._token:
            return False
        await self._redis.pexpire(self._key, LEASE_MS)
        self._renew_at = now + LEASE_MS / 3_000
        return True

    async def give_back(self) -> None:
        if await self._redis.get(self._key) == self._token:
            await self._redis.delete(self._key)
