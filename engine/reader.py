"""A reader: what a hash tag's stock, holds and records are now. What it tells is true, or it raises."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, NoReturn

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from engine.errors import Unavailable
from engine.fence import Fence, Fenced
from engine.holds import Hold, HoldStatus, decode_record
from engine.keys import Keys
from engine.lanes import Lane
from engine.pipe import Command, Pipe, raised
from engine.settings import Settings

TRANSIENT = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, Fenced)
TRANSIENT_ERRORS = ("MISCONF", "LOADING", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED")
OTHER_EPOCH = "Redis is at another epoch of the log, or empty, and is not verified yet"


class Backlog(msgspec.Struct, frozen=True):
    """Events made but not yet applied in PostgreSQL: how many, and the age of the oldest."""

    epoch: int
    seq: int
    events: int
    lag_s: float


class Reader:
    """Reads over one pipe, with the epoch beside every answer. `Unavailable` is raised for faults."""

    def __init__(self, redis: Redis, fence: Fence, settings: Settings, keys: Keys | None) -> None:
        self.keys = keys or Keys()
        self.fence = fence
        self.pipe = Pipe(redis)
        self._settings = settings
        self._reads: Lane[tuple[str, ...], tuple[int, list[str | None]]] = Lane.of(settings, self._send_reads)
        self.suspended: str | None = None
        """Why nothing is asked of Redis for now: whoever watches it found that it does not answer."""

    async def close(self) -> None:
        """Wait for what is on the wire; the client stays open, it is its maker's."""
        await self._reads.close()
        await self.pipe.close()

    async def hold(self, token: str) -> Hold | None:
        """A hold, `expired` from its deadline on whether it was swept or not; None once Redis let go of it."""
        record, clock = await self._read_all(("GET", self.keys.hold(token)), ("TIME",))
        if record is None:
            return None
        found = decode_record(record).hold(token)
        now_ms = clock_ms(clock)
        if found.status is HoldStatus.HELD and now_ms >= found.expires_ms:
            found = msgspec.structs.replace(found, status=HoldStatus.EXPIRED)
        return found

    def texts(self, *keys: str) -> Awaitable[tuple[int, list[str | None]]]:
        """Redis' clock in ms, and what is under these keys at that moment. Who asks meanwhile rides along."""
        return self._reads.submit(keys)

    async def _send_reads(self, wanted: list[tuple[str, ...]]) -> list[tuple[int, list[str | None]]]:
        flat = [key for keys in wanted for key in keys]
        clock, *found = await self._read_all(("TIME",), *([("MGET", *flat)] if flat else []))
        texts = found[0] if found else []
        now_ms = clock_ms(clock)
        answered, start = [], 0
        for keys in wanted:
            answered.append((now_ms, list(texts[start : start + len(keys)])))
            start += len(keys)
        return answered

    async def customer_units(self, fields: list[tuple[str, str]]) -> list[int]:
        """Units that each customer has of each SKU, held and sold, where a limit counts them: (SKU, customer)."""
        if not fields:
            return []
        counted = await self._read("HMGET", self.keys.customers, *(f"{sku}|{customer}" for sku, customer in fields))
        return [int(units or 0) for units in counted]

    async def payments_due(self, limit: int) -> list[str]:
        """At most `limit` orders whose payment window is over while their payment is not settled, by token."""
        now_ms = clock_ms(await self._read("TIME"))
        return list(await self._read("ZRANGEBYSCORE", self.keys.payments, "-inf", now_ms, "LIMIT", 0, limit))

    async def coupon_uses(self, coupon_ids: list[str]) -> dict[str, int]:
        """How many orders each of these coupons is counted for; 0 for one that never was."""
        if not coupon_ids:
            return {}
        counted = await self._read("HMGET", self.keys.coupons, *coupon_ids)
        return {coupon_id: int(uses or 0) for coupon_id, uses in zip(coupon_ids, counted, strict=True)}

    async def orphans(self, limit: int) -> list[str]:
        """At most `limit` tokens of holds that came due while their record was gone."""
        return list(await self._read("SRANDMEMBER", self.keys.orphans, limit))

    async def backlog(self) -> Backlog:
        """How far PostgreSQL is behind."""
        numbers, oldest, clock = await self._read_all(
            ("HMGET", self.keys.meta, "seq", "flushed"),
            ("XRANGE", self.keys.events, "-", "+", "COUNT", 1),
            ("TIME",),
        )
        seq, flushed = int(numbers[0]), int(numbers[1])
        lag_s = 0.0
        if seq > flushed and oldest and (at_ms := _fields_of(oldest[0]).get("at", "")).isdigit():
            lag_s = max(0.0, int(clock[0]) + int(clock[1]) / 1e6 - int(at_ms) / 1000)
        return Backlog(self.fence.epoch, seq, seq - flushed, lag_s)

    async def _read(self, *command: str | int) -> Any:
        return (await self._read_all(command))[0]

    async def _read_all(self, *commands: Command) -> list[Any]:
        """Answers that are true: the epoch is read behind them, since an emptied Redis would answer "unknown" to all.

        The server may serve others between two commands, so what is read first says nothing of what follows it.
        """
        epoch = self.fence.epoch
        if self.suspended is not None:
            raise Unavailable(self.suspended)
        try:
            answers = await self.pipe.ask(*commands, ("HGET", self.keys.meta, "epoch"))
            *results, found = [raised(answer) for answer in answers]
        except RedisError as error:
            raise unavailable(error) from error
        if found != str(epoch):
            self._doubt(epoch)
        return results

    def _doubt(self, epoch: int) -> NoReturn:
        """Raise Unavailable: Redis is not at the epoch that was asked in. Closes the fence unless it has moved on."""
        if self.fence.epoch == epoch:
            self.fence.close(OTHER_EPOCH)
        raise Unavailable(OTHER_EPOCH)


def unavailable(error: RedisError) -> Exception:
    """What an error of Redis means to a caller: Unavailable where waiting may mend it, else the error itself."""
    if isinstance(error, TRANSIENT):
        return Unavailable(f"Redis is unavailable: {error}")
    if isinstance(error, ResponseError) and str(error).startswith(TRANSIENT_ERRORS):
        return Unavailable(f"Redis is unavailable: {error}")
    return error


def clock_ms(clock: Sequence[Any]) -> int:
    """Whole ms since 1970 of Redis' TIME: seconds and microseconds."""
    return int(clock[0]) * 1000 + int(clock[1]) // 1000


def first_score(members: Sequence[Any]) -> float:
    """The score of the first member, as RESP 2 (flat) or RESP 3 (pairs) tells it."""
    first = members[0]
    return float(first[1] if isinstance(first, list | tuple) else members[1])


def _fields_of(entry: Sequence[Any]) -> dict[str, str]:
    """The fields of an entry of the stream, which the server tells flat."""
    fields = entry[1]
    return fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
