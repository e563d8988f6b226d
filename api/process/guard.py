"""The guard: whenever the fence is closed, has Redis compared with PostgreSQL until it can be opened again."""

from __future__ import annotations

import asyncio
import logging

from api.process.database import Database
from api.process.metrics import Metrics
from engine.errors import Unavailable
from engine.fence import Fence
from engine.settings import Settings
from persistence.fence import verify

log = logging.getLogger("holdfast.guard")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class Guard:
    """One task a process; woken by the fence, patient with servers that are away."""

    def __init__(self, settings: Settings, database: Database, fence: Fence, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._fence = fence
        self._metrics = metrics
        self._closed = asyncio.Event()
        self.opened = asyncio.Event()
        fence.on_close = self._notice

    def _notice(self) -> None:
        self._metrics.fence_closings.inc()
        self.opened.clear()
        self._closed.set()

    async def run(self) -> None:
        """Watch for ever."""
        pause_s = FIRST_PAUSE_S
        told = ""
        while True:
            if self._fence.is_open:
                await self._closed.wait()
                self._closed.clear()
                continue
            reason = await self._verify()
            if reason is None:
                pause_s, told = FIRST_PAUSE_S, ""
                self.opened.set()
                continue
            if reason != told:
                log.warning("Redis cannot be verified: %s", reason)
                told = reason
            self._fence.explain(reason)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _verify(self) -> str | None:
        """Why it could not be done, None when the fence is open."""
        try:
            verdict = await verify(self._settings, self._database.pool, self._fence)
        except Unavailable as error:
            return error.reason
        except Exception as error:  # whatever it is, the fence stays closed and we try again
            log.exception("the verification failed")
            return f"Redis could not be verified: {error!r}"
        self._metrics.verifications.labels(verdict).inc()
        log.info("Redis is verified: %s", verdict)
        return None
