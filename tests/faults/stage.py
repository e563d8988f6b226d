"""The stage of one round: the system, the load on it, and what a fault may do and must tell."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct
from redis.exceptions import RedisError

from benchmarks.connections import FAULTS
from tests.faults.final import Excuse
from tests.faults.load import Asker, Load, Shop
from tests.faults.observe import KEYS, SQL, Site, drained
from tests.faults.proxy import Proxy
from tests.faults.system import NotThereError, System

READY_S = 30.0
SAMPLE_S = 0.02
CANARY = "CANARY"


class Sample(Struct, frozen=True):
    """A place that Redis' log had reached at a moment, or before."""

    at_s: float
    epoch: int
    seq: int


class Watch:
    """Looks again and again at how far Redis' log goes."""

    def __init__(self, site: Site) -> None:
        self.samples: list[Sample] = []
        self._site = site
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._over = True  # it is not cancelled: redis-py may take that for a time-out and go on
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        async with self._site.redis() as redis:
            while not self._over:
                at_s = time.time()
                with suppress(RedisError, OSError):
                    found: Any = await redis.hmget(KEYS.meta, ["epoch", "seq"])
                    epoch, seq = found
                    if epoch is not None and seq is not None:
                        self.samples.append(Sample(at_s, int(epoch), int(seq)))
                await asyncio.sleep(SAMPLE_S)


class Ready(Struct, frozen=True):
    """Seconds from a fault's end until a hold is answered again, and until PostgreSQL has that hold."""

    answers_s: float
    applied_s: float


class Stage(Struct):
    """What a fault works with: `excuses` and `forged` are for the checker, `complaints` are what it saw itself."""

    system: System
    site: Site
    asker: Asker
    shop: Shop
    load: Load
    watch: Watch
    dice: random.Random
    proxies: dict[str, Proxy]
    excuses: list[Excuse] = msgspec.field(default_factory=list)
    forged: int = 0
    clock_ahead_s: float = 0.0
    ended_at: float | None = None
    complaints: list[str] = msgspec.field(default_factory=list)

    def expect(self, condition: bool, text: str) -> None:  # noqa: FBT001 - reads as an assertion does
        """Something that must hold while the fault lasts."""
        if not condition:
            self.complaints.append(text)

    async def quiet(self) -> None:
        """Let the load stand still, and wait until PostgreSQL has everything."""
        await self.load.pause()
        if not await drained(self.site, READY_S):
            raise NotThereError("the log was not drained")

    async def lost(self) -> None:
        """To be awaited at the moment in which Redis loses what PostgreSQL has not heard of.

        What was acknowledged before Redis' log was last seen no longer than PostgreSQL has it now, or in an earlier
        epoch, must still be there. What came after that may be gone.
        """
        until_s, epoch = time.time(), self.watch.samples[-1].epoch
        applied = await self.site.query(lambda connection: connection.fetchval(SQL["last_of_epoch"], epoch))
        safe = [each.at_s for each in self.watch.samples if each.epoch < epoch or each.seq <= applied]
        self.excuses.append(Excuse(max(safe, default=0.0), until_s))

    def end(self) -> None:
        """From now on time to ready counts, although the fault's function goes on."""
        self.ended_at = time.monotonic()

    async def ready(self) -> Ready:
        """Wait until the system says it is ready, a hold is answered, and PostgreSQL has it. Raises NotThereError."""
        began, self.ended_at = self.ended_at or time.monotonic(), None
        hold_id = await self._until(self.hold, began, "a hold is answered")
        answers_s = time.monotonic() - began
        await self._until(lambda: self._is_applied(hold_id), began, f"PostgreSQL has {hold_id}")
        return Ready(answers_s, time.monotonic() - began)

    async def _until(self, attempt: Callable[[], Awaitable[str]], began: float, what: str) -> str:
        while not (result := await attempt()):
            if time.monotonic() - began > READY_S:
                raise NotThereError(f"not within {READY_S:g} s: {what}; {await self._reason()}")
            await asyncio.sleep(0.02)
        return result

    async def hold(self) -> str:
        """The id of a hold that was answered while /readyz said ready, "" where there is none."""
        body = msgspec.json.encode({"lines": [{"sku": CANARY, "quantity": 1}], "ttl_s": 600})
        try:
            async with asyncio.timeout(1.0):
                if (await self.site.root.ask("GET", "/readyz", {}, None)).status != 200:
                    return ""
                answer = await self.site.api.ask("POST", "/holds", {}, body)
                return str(msgspec.json.decode(answer.content)["id"]) if answer.status == 201 else ""
        except FAULTS:
            return ""

    async def _is_applied(self, hold_id: str) -> str:
        with suppress(Exception):  # whatever it is, it is not applied yet
            if await self.site.query(lambda connection: connection.fetchval(SQL["hold_is_there"], hold_id)):
                return hold_id
        return ""

    async def _reason(self) -> str:
        with suppress(*FAULTS):
            return (await self.site.root.ask("GET", "/readyz", {}, None)).content.decode()
        return "no answer from /readyz"
