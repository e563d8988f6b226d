"""The probe: looks at Redis, PostgreSQL, the last audit and the backlog once a second, for readyz and the metrics."""

from __future__ import annotations

import asyncio
import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.messages.errors import public_reason
from api.process.database import Database
from api.process.health import UP, Component, Health
from api.process.metrics import COMPONENTS, Metrics
from engine.connection import connect
from engine.errors import Unavailable
from engine.reader import Backlog
from engine.settings import Settings
from engine.shard import Shard
from persistence.audit import LastAudit, read_last
from persistence.flush import Offset, read_offset
from persistence.pool import Pool

log = logging.getLogger("holdfast.probe")

EVERY_S = 1.0
TIMEOUT_S = 2.0


class Probe:
    """One task a process. It looks at Redis past the fence, so that "up but unverified" can be told from "down"."""

    def __init__(self, settings: Settings, database: Database, shard: Shard, health: Health, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._shard = shard
        self._health = health
        self._metrics = metrics
        self._told: dict[str, str] = {}
        metrics.high_water.set(settings.high_water_events)

    async def run(self, opened: asyncio.Event) -> None:
        """Look for ever; at once, too, when the fence opens."""
        redis = connect(self._settings)
        try:
            while True:
                try:
                    await self.look(redis)
                except Exception:  # the next look may find out more
                    log.exception("the probe failed")
                was_open = opened.is_set()
                try:
                    async with asyncio.timeout(EVERY_S):
                        await (asyncio.sleep(EVERY_S) if was_open else opened.wait())
                except TimeoutError:
                    continue
        finally:
            await redis.aclose()

    async def look(self, redis: Redis) -> None:
        """Observe every component once."""
        self._health.redis, (self._health.backlog, self._health.postgresql) = await asyncio.gather(
            self._look_at_redis(redis), self._look_at_both()
        )
        self._publish()

    async def _look_at_redis(self, redis: Redis) -> Component:
        """Redis' state; the shard hears of it too, so that nobody waits for a Redis that does not answer."""
        shard = self._shard
        try:
            async with asyncio.timeout(TIMEOUT_S):
                memory = await redis.info("memory")
                replicas = await self._replicas_missing(redis)
        except (RedisError, OSError, TimeoutError) as error:
            shard.suspended = "Redis does not answer"
            return self._down("redis", f"Redis is unavailable: {error!r}")
        shard.suspended = None
        mark = int(memory.get("maxmemory", 0)) * self._settings.high_water_memory_percent / 100
        if 0 < mark <= int(memory["used_memory"]):
            shard.turned_away = "Redis is nearly out of memory"
            return self._down("redis", shard.turned_away)
        shard.turned_away = None
        return self._up("redis") if replicas is None else self._down("redis", replicas)

    async def _replicas_missing(self, redis: Redis) -> str | None:
        """Why no hold can be confirmed, where replicas must confirm each; None where nothing is missing."""
        needed = self._settings.reserve_replicas
        if not needed:
            return None
        found = int((await redis.info("replication"))["connected_slaves"])
        return None if found >= needed else f"Redis has {found} of the {needed} replicas that must confirm a hold"

    async def _look_at_both(self) -> tuple[Backlog | None, Component]:
        """The backlog, and after it PostgreSQL: what Redis had let go of by then, PostgreSQL has."""
        backlog = await self._look_at_backlog()
        return backlog, await self._look_at_postgresql(backlog)

    async def _look_at_postgresql(self, backlog: Backlog | None) -> Component:
        """PostgreSQL's state; the questions are what the last audit found, for the metrics, and how far it is."""
        try:
            found, offset = await self._database.ask(self._read, TIMEOUT_S)
        except Unavailable as error:
            return self._down("postgresql", error.reason)
        if found is not None:
            self._publish_audit(found)
        if backlog is not None and offset is not None and backlog.epoch == offset.epoch:
            let_go = backlog.seq - backlog.events
            if offset.seq < let_go:
                self._shard.fence.close("PostgreSQL was put back to an earlier time")
        return self._up("postgresql")

    async def _read(self, pool: Pool) -> tuple[LastAudit | None, Offset | None]:
        shard = self._shard.keys.shard
        async with pool.acquire() as connection:
            return await read_last(connection, shard), await read_offset(connection, shard)

    async def _look_at_backlog(self) -> Backlog | None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._shard.backlog()
        except (Unavailable, TimeoutError):
            return None
        except RedisError:
            log.exception("the backlog cannot be read")
            return None

    def _down(self, name: str, reason: str) -> Component:
        """A component's state; the log hears of it once, in full."""
        detail = public_reason(reason)
        if self._told.get(name) != detail:
            log.warning("%s", reason)
            self._told[name] = detail
        return Component(status="down", detail=detail)

    def _up(self, name: str) -> Component:
        if self._told.pop(name, None) is not None:
            log.info("%s is back", name)
        return UP

    def _publish_audit(self, found: LastAudit) -> None:
        metrics = self._metrics
        metrics.books_differences.set(found.differences)
        metrics.quarantined.set(found.quarantined)
        metrics.orphans_unproven.set(found.orphans_unproven)
        metrics.books_compared.set(found.at_ms / 1_000)

    def _publish(self) -> None:
        seen = self._health.readiness().components
        metrics = self._metrics
        for name in COMPONENTS:
            metrics.up.labels(name).set(getattr(seen, name).status == "up")
        if self._health.backlog is not None:
            metrics.lag_events.set(self._health.backlog.events)
            metrics.lag_seconds.set(self._health.backlog.lag_s)
