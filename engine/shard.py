"""A shard: the verbs on stock and holds, each batched into its script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine import answers
from engine.answers import Answered
from engine.errors import Unavailable
from engine.expiring import Expiry, of_bundles, pack_expiries
from engine.fence import Fence
from engine.holds import HoldAnswer, Reserve
from engine.idempotency import Keyed
from engine.keys import Keys
from engine.lanes import Lane, Observer
from engine.reader import Reader, clock_ms, first_score, unavailable
from engine.refusals import Refusal, Refused
from engine.reserving import pack_reserves
from engine.scripts import Operation, Script, load_scripts, pack, replicas_of
from engine.settings import Settings
from engine.settling import SETTLING_VERBS, Settling, committing, pack_settling
from engine.sold_out import SoldOut
from engine.stock import Adjust, StockAnswer, StockLevel, StockPage, level_of_row
from engine.trade import Changed, Replayed, Trade, Traded, arguments_of

SWEEP_BUNDLES = 500
SWEEP_HOLDS = 500
"""What a sweep takes at once: bundles that are read together, and of their holds those that the script is handed."""

MAX_SWEEP_ROUNDS = 2_000

MAX_BATCHES = {"trade": 48}
"""Operations in a batch of a verb, where fewer than the settings have: what Redis does in two ms (decision 2)."""

RETRY_WHEN_FULL_S = 5


class Shard(Reader):
    """One hash tag's stock and holds. Expected refusals are `Refused` values; `Unavailable` is raised for faults."""

    def __init__(
        self,
        redis: Redis,
        fence: Fence,
        settings: Settings,
        *,
        keys: Keys | None = None,
        scripts: dict[str, Script] | None = None,
        observe: Observer = lambda _verb, _size, _seconds: None,
    ) -> None:
        super().__init__(redis, fence, settings, keys)
        self._scripts = scripts or load_scripts(replicas=replicas_of(settings))
        self._observe = observe
        self._lanes: dict[str, Lane[Any, Answered]] = {
            verb: Lane.of(settings, partial(self._send, verb), MAX_BATCHES.get(verb)) for verb in self._scripts
        }
        self._sold_out = SoldOut(settings, self.keys, self._read_all)
        self.turned_away: str | None = None
        """Why nothing more is reserved for now, while everything else may finish: Redis is nearly full."""
        self._sweeping: tuple[int, asyncio.Task[int]] | None = None
        self._wanted_ms = 0

    @property
    def waiting(self) -> int:
        """Operations not yet on the wire, over all verbs."""
        return sum(lane.waiting for lane in self._lanes.values())

    async def close(self) -> None:
        """Wait for what is on the wire; the client stays open, it is its maker's."""
        if self._sweeping is not None:
            self._sweeping[1].cancel()
            await asyncio.wait([self._sweeping[1]])
        for lane in self._lanes.values():
            await lane.close()
        await self._sold_out.close()
        await super().close()

    # The verbs

    async def reserve(self, request: Reserve) -> HoldAnswer | Refused:
        """Claim all lines or none, until the time to live is over.

        A hold past its deadline never stands in the way: before a refusal everything that was due is reclaimed.
        """
        if self.turned_away is not None:
            raise Unavailable(self.turned_away, RETRY_WHEN_FULL_S)
        if self._sold_out.is_likely(request.lines):
            refused = await self._sold_out.look(request)
            if refused is not None:
                return refused
        lane = self._lanes["reserve"]
        given = await lane.submit(request)
        if given.status == "due":
            await self._sweep(given.now_ms)
            given = await lane.submit(replace(request, swept=True))
        answer = answers.reserved(request, given)
        if isinstance(answer, Unavailable):
            raise answer
        if isinstance(answer, Refused) and answer.refusal is Refusal.INSUFFICIENT_STOCK:
            self._sold_out.note(request.lines)
        return answer

    async def reserve_group(self, requests: list[Reserve]) -> list[HoldAnswer | Refused | Unavailable]:
        """Claim each hold for itself, in order, in one batch.

        Requests of one group share one memory, and are turned away together. Otherwise the high-water mark may be
        reached in their midst: those that it turned away get Unavailable as their answer. It is raised where that is
        the answer of all.
        """
        if not requests:
            return []
        if self.turned_away is not None:
            raise Unavailable(self.turned_away, RETRY_WHEN_FULL_S)
        lane = self._lanes["reserve"]
        answered = await lane.submit_together(requests)
        due_ms = max((answer.now_ms for answer in answered if answer.status == "due"), default=None)
        if due_ms is not None:
            await self._sweep(due_ms)
            again = [i for i, answer in enumerate(answered) if answer.status == "due"]
            fresh = await lane.submit_together([replace(requests[i], swept=True) for i in again])
            for i, answer in zip(again, fresh, strict=True):
                answered[i] = answer
        found = [answers.reserved(request, answer) for request, answer in zip(requests, answered, strict=True)]
        turned_away = [answer for answer in found if isinstance(answer, Unavailable)]
        if len(turned_away) == len(found):
            raise turned_away[0]
        return found

    async def commit(self, token: str, keyed: Keyed | None = None, reference: str = "") -> HoldAnswer | Refused:
        """Sell the units of a live hold. A committed hold answers the same again."""
        return answers.settled(token, await self._lanes["commit"].submit(committing(token, keyed, reference)))

    async def release(self, token: str) -> HoldAnswer | Refused:
        """Give the units of a live hold back. A released hold answers the same again."""
        return answers.settled(token, await self._lanes["release"].submit(Settling(token)))

    async def extend(self, token: str, ttl_s: int, keyed: Keyed | None = None) -> HoldAnswer | Refused:
        """Let a live hold live `ttl_s` from now, at most `max_hold_life_s` from its making; never less than it has."""
        life_ms = self._settings.max_hold_life_s * 1000
        operation = Settling(token, keyed, (ttl_s * 1000, life_ms))
        return answers.settled(token, await self._lanes["extend"].submit(operation))

    async def adjust(self, request: Adjust) -> StockAnswer | Refused:
        """Receive units or write them off; `available` never goes below 0."""
        lane = self._lanes["adjust"]
        answer = await lane.submit(self._adjust_operation(request))
        if answer.status == "due":
            await self._sweep(answer.now_ms)
            answer = await lane.submit(self._adjust_operation(request, swept=1))
        return answers.adjusted(request.sku, answer)

    async def trade(self, trade: Trade) -> Traded | Replayed | Changed | Refused:
        """Change carts and orders with the stock that they hold: all of it, or nothing.

        As with `reserve`, a hold past its deadline never stands in the way.
        """
        if self.turned_away is not None and trade.makes_more_holds:
            raise Unavailable(self.turned_away, RETRY_WHEN_FULL_S)
        lane = self._lanes["trade"]
        answer = await lane.submit(Operation(*arguments_of(trade, self.keys)))
        if answer.status == "due":
            await self._sweep(answer.now_ms)
            answer = await lane.submit(Operation(*arguments_of(trade, self.keys, swept=1)))
        return answers.traded(answer)

    def _adjust_operation(self, request: Adjust, swept: int = 0) -> Operation:
        create, limit = int(request.create), request.customer_limit or 0
        arguments = (request.fingerprint, request.sku, request.delta, create, limit, request.reason, request.reference)
        return Operation((self.keys.memory(request.token),), (*arguments, swept))

    async def expire_due(self) -> int:
        """Give back the units of all holds that are past their deadline now; returns how many ended."""
        return await self._sweep_until(clock_ms(await self._read("TIME")))

    async def expire_orphan(self, token: str, customer_id: str | None, lines: list[tuple[str, int]]) -> bool:
        """Give back what an orphaned hold held, as PostgreSQL knows it; False when it is no orphan (any more)."""
        (ended,) = await self._expire([Expiry((token,), "", customer_id or "", lines)])
        return ended > 0

    async def adopt_orphan(self, token: str) -> bool:
        """Count a hold among the orphans when Redis has no record of it; False when it has."""
        if await self._read("EXISTS", self.keys.hold(token)):
            return False
        await self._read("SADD", self.keys.orphans, token)
        return True

    async def forget_orphans(self, tokens: list[str]) -> None:
        """Count these among the orphans no more, since they ended before: they hold nothing."""
        if tokens:
            await self._read("SREM", self.keys.orphans, *tokens)

    async def expire_overdue(self, tokens: list[str]) -> int:
        """Give back the units of those of these holds that are past their deadline; returns how many.

        A hold that is in no bundle is found by nobody else.
        """
        return sum(await self._expire([Expiry((token,)) for token in tokens]))

    async def acknowledge(self, seq: int) -> int:
        """Let go of every event up to `seq` of this epoch, which PostgreSQL has applied; returns the backlog."""
        answer = await self._lanes["acknowledge"].submit(Operation((), (seq,)))
        return int(answer.rest[0])

    # Counting

    async def stock(self, sku: str) -> StockLevel | None:
        """The counts of one SKU now; what was due is reclaimed first, so `available` is what anyone may reserve."""
        return (await self.stock_of([sku])).get(sku)

    async def stock_of(self, skus: list[str]) -> dict[str, StockLevel]:
        """The counts of those of these SKUs that exist, all at one moment; what was due is reclaimed first."""
        if not skus:
            return {}
        count = ("HMGET", self.keys.stock, *skus)
        earliest, clock, rows = await self._read_all(
            ("ZRANGE", self.keys.deadlines, 0, 0, "WITHSCORES"), ("TIME",), count
        )
        now_ms = clock_ms(clock)
        if earliest and first_score(earliest) <= now_ms:
            await self._sweep(now_ms)
            (rows,) = await self._read_all(count)
        return {sku: level_of_row(sku, row) for sku, row in zip(skus, rows, strict=True) if row is not None}

    async def stock_page(self, after: str | None, limit: int) -> StockPage:
        """At most `limit` SKUs that come after `after`, in byte order."""
        start = "-" if after is None else f"({after}"
        skus = await self._read("ZRANGEBYLEX", self.keys.skus, start, "+", "LIMIT", 0, limit + 1)
        levels = await self.stock_of(skus[:limit])
        return StockPage(list(levels.values()), skus[limit - 1] if len(skus) > limit else None)

    # The way to Redis

    async def _sweep(self, until_ms: int) -> None:
        """Give back everything that was due at `until_ms`.

        There is one sweep at a time, and the next one is for all who came meanwhile: under load each batch asks for a
        later moment, and sweeps beside each other would end the same holds.
        """
        self._wanted_ms = max(self._wanted_ms, until_ms)
        swept_ms = -1
        while swept_ms < until_ms:
            if self._sweeping is None or self._sweeping[1].done():
                task = asyncio.get_running_loop().create_task(self._sweep_until(self._wanted_ms))
                self._sweeping, self._wanted_ms = (self._wanted_ms, task), 0
            swept_ms, running = self._sweeping
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                if running.cancelled():
                    raise Unavailable("shutting down") from None
                raise

    async def _sweep_until(self, until_ms: int) -> int:
        """How many holds ended."""
        ended = 0
        for _ in range(MAX_SWEEP_ROUNDS):
            due = await self._read("ZRANGEBYSCORE", self.keys.deadlines, "-inf", until_ms, "LIMIT", 0, SWEEP_BUNDLES)
            for part in of_bundles(due, SWEEP_HOLDS):
                ended += sum(await self._expire(part))
            if len(due) < SWEEP_BUNDLES:
                break
        return ended

    async def _expire(self, operations: list[Expiry]) -> list[int]:
        """How many holds of each ended."""
        if not operations:
            return []
        return [int(answer.rest[0]) for answer in await self._lanes["expire"].submit_together(operations)]

    def _pack(self, verb: str, operations: list[Any]) -> tuple[list[str], Sequence[Any]]:
        if verb == "reserve":
            return pack_reserves(self.keys, operations)
        if verb in SETTLING_VERBS:
            return pack_settling(self.keys, operations)
        if verb == "expire":
            return pack_expiries(self.keys, operations)
        return pack(self.keys.prelude, operations)

    async def _send(self, verb: str, operations: list[Any]) -> list[Answered]:
        keys, payload = self._pack(verb, operations)
        if self.suspended is not None:
            raise Unavailable(self.suspended)
        settings, epoch = self._settings, self.fence.epoch
        argument = msgspec.json.encode((epoch, settings.retention_s * 1000, settings.high_water_events, payload))
        started = time.perf_counter()
        try:
            given = await self._scripts[verb].run(self.pipe, keys, argument)
        except RedisError as error:
            raise unavailable(error) from error
        self._observe(verb, len(operations), time.perf_counter() - started)
        if given[1] == "fenced":
            self._doubt(epoch)
        return _answers_of(given)


def _answers_of(flat: list[Any]) -> list[Answered]:
    """A script's answer as those of its operations.

    It is the clock, then how many operations in a row are answered alike, the number of that answer's parts, and those.
    """
    now_ms, start, found = flat[0], 1, []
    while start < len(flat):
        end = start + 2 + flat[start + 1]
        answered = Answered(now_ms, flat[start + 2], flat[start + 3 : end])
        found += [answered] * flat[start]
        start = end
    return found
