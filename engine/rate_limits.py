"""Rate limits: how many requests a subject may make, judged in Redis for all processes at once; no HTTP here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct
from redis.exceptions import RedisError

from engine.errands import in_task
from engine.errors import Unavailable
from engine.idempotency import derive_token
from engine.keys import Keys
from engine.lanes import Lane, Observer
from engine.pipe import Pipe
from engine.scripts import Operation, Script, pack
from engine.settings import Settings

ASK_TIMEOUT_S = 1.0
US = 1_000_000


class Policy(Struct, frozen=True):
    """A limit: so many requests a second in the long run, and at most so many at once."""

    name: Literal["key", "customer"]
    per_s: int
    burst: int

    @property
    def window_s(self) -> int:
        """Whole seconds in which all that may come at once is paid off."""
        return -(-self.burst // self.per_s)


class Standing(Struct, frozen=True):
    """What a limit says of a request, and how many more it lets through now.

    `wait_us` is the time until one more is let through; for a request that is refused, the time until it passes.
    """

    policy: Policy
    is_allowed: bool
    remaining: int
    wait_us: int

    @property
    def wait_s(self) -> int:
        """The wait in whole seconds: never less than it takes, and never 0."""
        return max(1, -(-self.wait_us // US))


def key_policy(settings: Settings) -> Policy | None:
    """What one API key may do; None without a limit."""
    return _policy("key", settings.rate_limit_key, settings.rate_limit_key_burst)


def customer_policy(settings: Settings) -> Policy | None:
    """What may be done for one customer; None without a limit."""
    return _policy("customer", settings.rate_limit_customer, settings.rate_limit_customer_burst)


def _policy(name: Literal["key", "customer"], per_s: int, burst: int) -> Policy | None:
    return Policy(name, per_s, burst or per_s) if per_s else None


class RateLimiter:
    """Charges requests to limits, many of them in one script call. A refused request is charged nothing.

    Where nobody can tell, because Redis is out of reach or slow, the request is let through: what needs Redis is
    refused elsewhere, and what does not shall not fail for a limit.
    """

    def __init__(
        self,
        pipe: Pipe,
        keys: Keys,
        settings: Settings,
        *,
        script: Script | None = None,
        is_away: Callable[[], bool] = lambda: False,
        observe: Observer = lambda _verb, _size, _seconds: None,
    ) -> None:
        self._pipe = pipe
        self._keys = keys
        self._script = script or Script("limit", with_prelude=False)
        self._is_away = is_away
        self._observe = observe
        self._lane: Lane[Operation, tuple[str, int, int]] = Lane.of(settings, self._send)

    async def charge(self, policy: Policy, units: Mapping[str, int]) -> Standing | None:
        """Charge each subject its units, all of them or none; None when nobody can tell."""
        if self._is_away():
            return None
        try:
            given = await self._lane.submit(self._question(policy, units))
        except Unavailable:
            return None
        return _standing(policy, given)

    async def charge_each(self, policy: Policy, subjects: Sequence[str]) -> list[Standing] | None:
        """Charge one unit for each, in order, each for itself; None when nobody can tell."""
        if self._is_away() or not subjects:
            return None
        try:
            given = await self._lane.submit_together([self._question(policy, {subject: 1}) for subject in subjects])
        except Unavailable:
            return None
        return [_standing(policy, answer) for answer in given]

    async def close(self) -> None:
        """Wait for what is on the wire; the client stays open, it is its maker's."""
        await self._lane.close()

    def _question(self, policy: Policy, units: Mapping[str, int]) -> Operation:
        # By hash: a customer's id may be long, and a list of Redis' keys shall name nobody.
        keys = tuple(self._keys.limit(derive_token("limit", policy.name, subject)) for subject in units)
        return Operation(keys, (US / policy.per_s, policy.burst, tuple(units.values())))

    async def _send(self, charges: list[Operation]) -> list[tuple[str, int, int]]:
        keys, payload = pack((), charges)
        await in_task()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                answers: Any = await self._script.run(self._pipe, keys, msgspec.json.encode(payload))
        except (RedisError, TimeoutError) as error:
            raise Unavailable("the limits cannot be judged") from error
        self._observe("limit", len(charges), time.perf_counter() - started)
        return list(zip(answers[::3], answers[1::3], answers[2::3], strict=True))


def _standing(policy: Policy, given: tuple[str, int, int]) -> Standing:
    status, left, wait_us = given
    return Standing(policy, status == "allowed", left, wait_us)
