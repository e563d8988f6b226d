"""Expire: give back the units of holds past their deadline, and cancel orders whose payment window is over.

Only housekeeping: the scripts, and whoever looks at such an order or its cart, judge by themselves.
"""

from __future__ import annotations

import asyncio

from engine.catalogue import Catalogue
from engine.desk import LAPSE_AT_ONCE, Desk
from engine.errors import Unavailable
from engine.orders import OrderRecord
from engine.settings import Settings, read_settings
from jobs.lingering import Linger
from jobs.resources import Resources, open_resources
from jobs.timetable import HOUSEKEEPING_QUEUE
from persistence import catalogue, orders
from persistence.pool import FAULTS

PAUSE_S = 0.5


def expire() -> int:
    """The job; returns how many holds and payment windows ended. Lingers (jobs/lingering.py), looking every PAUSE_S."""
    return asyncio.run(_expire(read_settings()))


async def _expire(settings: Settings) -> int:
    linger, total = Linger(HOUSEKEEPING_QUEUE), 0
    async with open_resources(settings) as resources:
        windows = PaymentWindows(resources)
        while True:
            ended = await resources.shard.expire_due()
            lapsed = await windows.lapse()
            total += ended + lapsed
            if lapsed == LAPSE_AT_ONCE and not linger.is_broken_off():
                continue
            if await linger.is_over(resources.redis):
                return total
            await linger.pause(PAUSE_S)


class PaymentWindows:
    """Those of orders whose payment is waited for; the catalogue is loaded when the first of them is over."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._desk = Desk(resources.shard, resources.settings, self._find)
        self._catalogue: Catalogue | None = None

    async def _find(self, token: str) -> OrderRecord | None:
        """An order that Redis let go of. Raises Unavailable where PostgreSQL is."""
        try:
            return await orders.find(self._resources.pool, token)
        except FAULTS as error:
            raise Unavailable(f"PostgreSQL is unavailable: {error!r}") from error

    async def lapse(self) -> int:
        """Cancel at most LAPSE_AT_ONCE orders whose window is over, each with its cart; returns how many."""
        if not await self._resources.shard.payments_due(1):
            return 0
        async with self._resources.pool.acquire() as connection:
            self._catalogue = await catalogue.load(connection, self._catalogue)
        return await self._desk.lapse_due(self._catalogue)
