"""Rate limits over HTTP: a request is charged to its key and to the customers that it names; headers tell of them.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy: "key";q=100;w=1` tells the quota and
its window in seconds, `RateLimit: "key";r=99;t=1` what is left, and for how long no more than that can be used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from litestar.types import Message, Scope

from api.messages.errors import Problem, ProblemRaised, invalid, problem
from engine.rate_limits import Policy, RateLimiter, Standing, customer_policy, key_policy
from engine.settings import Settings

Headers = list[tuple[bytes, bytes]]

POLICY_FIELD = "RateLimit-Policy"
LIMIT_FIELD = "RateLimit"
_FIELDS = (POLICY_FIELD.lower().encode(), LIMIT_FIELD.lower().encode())
_STATE = "rate_limit_headers"
HEADER_DOCUMENTATION: dict[str, Any] = {
    POLICY_FIELD: {
        "description": "The limits: `q` requests in `w` seconds",
        "schema": {"type": "string"},
        "example": '"key";q=100;w=1',
    },
    LIMIT_FIELD: {
        "description": "How they stand: `r` requests are left, and within `t` seconds no more than those",
        "schema": {"type": "string"},
        "example": '"key";r=0;t=1',
    },
}


class Quota:
    """What one request was charged so far; `headers` tell of it, whatever the request is answered."""

    def __init__(self, limiter: RateLimiter, customer: Policy | None, headers: Headers) -> None:
        self._limiter = limiter
        self._customer = customer
        self._headers = headers
        self._standings: list[Standing] = []

    async def charge_key(self, policy: Policy, client: str) -> None:
        """One request of this key. Raises ProblemRaised when it makes too many."""
        self._tell(await self._limiter.charge(policy, {client: 1}))

    async def charge_customer(self, customer_id: str | None) -> None:
        """One request for this customer. Raises ProblemRaised when there are too many."""
        if self._customer is not None and customer_id is not None:
            self._tell(await self._limiter.charge(self._customer, {customer_id: 1}))

    async def charge_together(self, customer_ids: Sequence[str | None]) -> None:
        """One request for each of these customers, all of them or none. Raises ProblemRaised for too many."""
        units = Counter(customer_id for customer_id in customer_ids if customer_id is not None)
        if self._customer is None or not units:
            return
        if max(units.values()) > self._customer.burst:
            most = f"has more than {self._customer.burst} holds for one customer; a call with a key is judged as one"
            raise ProblemRaised(invalid("holds", most))
        self._tell(await self._limiter.charge(self._customer, units))

    async def charge_each(self, customer_ids: Sequence[str | None]) -> list[Problem | None]:
        """One request for each of these customers, each for itself: the problem of each that is too many."""
        named = [customer_id for customer_id in customer_ids if customer_id is not None]
        found = None if self._customer is None else await self._limiter.charge_each(self._customer, named)
        if not found:
            return [None] * len(customer_ids)
        self._add(min(found, key=lambda standing: standing.remaining))
        following = iter(found)
        judged = [None if customer_id is None else next(following) for customer_id in customer_ids]
        return [None if standing is None or standing.is_allowed else limited(standing) for standing in judged]

    def _tell(self, standing: Standing | None) -> None:
        if standing is None:
            return
        self._add(standing)
        if not standing.is_allowed:
            raise ProblemRaised(limited(standing), {"Retry-After": str(standing.wait_s)})

    def _add(self, standing: Standing) -> None:
        """One field for all limits, since many clients read only the last of several."""
        self._standings.append(standing)
        policies = ", ".join(f'"{s.policy.name}";q={s.policy.burst};w={s.policy.window_s}' for s in self._standings)
        limits = ", ".join(f'"{s.policy.name}";r={s.remaining};t={s.wait_s}' for s in self._standings)
        self._headers[:] = [header for header in self._headers if header[0] not in _FIELDS]
        self._headers += zip(_FIELDS, (policies.encode(), limits.encode()), strict=True)


class RateLimits:
    """The limits of this process' settings; made only where there are any."""

    def __init__(self, limiter: RateLimiter, settings: Settings) -> None:
        self._limiter = limiter
        self._key = key_policy(settings)
        self._customer = customer_policy(settings)

    async def admit(self, client: str, headers: Headers) -> Quota:
        """The quota of a request, which is charged to its key; `headers` get the fields of the answer.

        Raises ProblemRaised when the key makes too many.
        """
        quota = Quota(self._limiter, self._customer, headers)
        if self._key is not None:
            await quota.charge_key(self._key, client)
        return quota

    async def close(self) -> None:
        """Wait for what is on the wire."""
        await self._limiter.close()


def limits_of(limiter: RateLimiter, settings: Settings) -> RateLimits | None:
    """The limits; None where the settings have none, so that nothing is asked and nothing is told."""
    is_limited = key_policy(settings) is not None or customer_policy(settings) is not None
    return RateLimits(limiter, settings) if is_limited else None


def limited(standing: Standing) -> Problem:
    """The problem of a request that is too many."""
    whose = "this API key" if standing.policy.name == "key" else "this customer"
    detail = f"Too many requests of {whose}; it passes in {standing.wait_s} s."
    return problem("rate-limited", detail, retry_after_s=standing.wait_s)


def headers_of(scope: Scope) -> Headers:
    """Where the fields of this request's answer are collected, on Litestar's way."""
    found: Headers = scope.setdefault("state", {}).setdefault(_STATE, [])
    return found


async def tell_limits(message: Message, scope: Scope) -> None:
    """Litestar's hook before each message is sent: the fields go with every answer, problems included."""
    if message["type"] == "http.response.start":
        message["headers"] = [*message["headers"], *scope.get("state", {}).get(_STATE, ())]
