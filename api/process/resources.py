"""What one API process holds while it runs: connections, the shard, the tasks that watch them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar

from api.access.authentication import Authenticator
from api.access.rate_limits import limits_of
from api.catalogue import CatalogueMemory
from api.process.database import Database
from api.process.guard import Guard
from api.process.health import Health
from api.process.key_watch import KeyWatch
from api.process.metrics import Metrics
from api.process.probe import Probe
from engine.connection import connect
from engine.desk import Desk
from engine.fence import Fence
from engine.orders import OrderRecord
from engine.rate_limits import RateLimiter
from engine.settings import Settings
from engine.shard import Shard
from persistence import orders as stored_orders
from persistence.api_keys import ApiKey, find_by_hash

END_ATTEMPTS = 10
END_PAUSE_S = 0.2


class Resources:
    """Made without any I/O; `lifespan` connects and lets go. Neither Redis nor PostgreSQL must be there for it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.fence = Fence()
        self.health = Health(settings, self.fence)
        self.database = Database(settings)
        self.catalogue = CatalogueMemory(self.database)
        self.redis = connect(settings, self.fence)
        self.shard = Shard(self.redis, self.fence, settings, observe=self.metrics.observe_batch)
        self.desk = Desk(self.shard, settings, self._find_order)
        self.authenticator = Authenticator(settings.auth, self._find_key)
        limiter = RateLimiter(
            self.shard.pipe,
            self.shard.keys,
            settings,
            is_away=lambda: self.shard.suspended is not None,
            observe=self.metrics.observe_batch,
        )
        self.rate_limits = limits_of(limiter, settings)
        """None where the settings have no limits."""

    async def _find_key(self, secret_hash: bytes) -> ApiKey | None:
        return await self.database.ask(lambda pool: find_by_hash(pool, secret_hash))

    async def _find_order(self, token: str) -> OrderRecord | None:
        return await self.database.ask(lambda pool: stored_orders.find(pool, token))

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Watch and serve; at the end the lanes finish what is on the wire before anything is closed."""
        await self.database.open()
        guard = Guard(self.settings, self.database, self.fence, self.metrics)
        probe = Probe(self.settings, self.database, self.shard, self.health, self.metrics)
        watches = [guard.run(), probe.run(guard.opened), self.catalogue.run()]
        if self.settings.auth == "keys":
            watches.append(KeyWatch(self.settings.require_database_url(), self.authenticator).run())
        tasks = [asyncio.create_task(watch) for watch in watches]
        try:
            yield
        finally:
            self.health.is_draining = True
            if self.rate_limits is not None:
                await self.rate_limits.close()
            await self.shard.close()
            await _end(tasks)
            await self.redis.aclose()
            await self.database.close()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until they listen: a library between them and us may swallow a cancellation."""
    pending = set(tasks)
    for _ in range(END_ATTEMPTS):
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=END_PAUSE_S)
        if not pending:
            return
