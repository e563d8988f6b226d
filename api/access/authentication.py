"""Who calls and what they may do: API keys, found by the hash of their secret, remembered until they are revoked."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from hmac import compare_digest
from typing import Any, Literal, TypeVar

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct
from msgspec.structs import replace

from api.access.rate_limits import Quota, headers_of
from api.messages.body_limits import RawHeaders
from api.messages.errors import ProblemRaised, problem
from engine.errors import Unavailable
from persistence.api_keys import SECRET_PREFIX, ApiKey, Scope, hash_secret

FRESH_S = 3.0
STALE_S = 300.0
RETRY_S = 1.0
MAX_REMEMBERED = 10_000
MAX_SECRET_LENGTH = 200

RouteScope = Literal["open", "storefront", "operator"]
Find = Callable[[bytes], Awaitable[ApiKey | None]]

K = TypeVar("K")
V = TypeVar("V")

_HASH_OF_NOTHING = hash_secret("")
_SECRET = re.compile(rf"{SECRET_PREFIX}[A-Za-z0-9_-]{{20,{MAX_SECRET_LENGTH}}}\Z")


class Caller(Struct, frozen=True):
    """Who asks: `client` keeps one caller's idempotency keys apart from another's; `quota` is None without limits."""

    client: str
    scope: Scope
    quota: Quota | None = None

    async def charge_customer(self, customer_id: str | None) -> None:
        """One request for this customer, where that is limited. Raises ProblemRaised when there are too many."""
        if self.quota is not None:
            await self.quota.charge_customer(customer_id)


ANONYMOUS = Caller("anonymous", "operator")


def allow(scope: RouteScope) -> dict[str, Any]:
    """The `opt` of a route that callers of this scope may use; an operator may use every route."""
    return {"scope": scope}


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Litestar guard: lets only those in whom the route's declared scope allows, and as often as they may.

    Raises ProblemRaised.
    """
    if connection.scope.get("method") == "OPTIONS":
        return
    scope: RouteScope = handler.opt["scope"]
    if scope == "open":
        return
    resources = connection.app.state.resources
    caller: Caller = await resources.authenticator.admit(connection.scope["headers"], scope)
    if resources.rate_limits is not None:
        caller = replace(caller, quota=await resources.rate_limits.admit(caller.client, headers_of(connection.scope)))
    connection.scope["user"] = caller


class Remembered(msgspec.Struct):
    """A key as PostgreSQL told it, when that was, until when that is enough, and whether asking again has failed."""

    key: ApiKey
    checked_at: float
    asked_at: float
    fresh_until: float
    is_failing: bool = False


class LastSecret:
    """The secret that came last on one connection, and its hash: mostly the next request there brings the same one.

    It is compared in constant time, for behind a proxy one connection carries the requests of many callers.
    """

    __slots__ = ("_hash", "_secret")

    def __init__(self) -> None:
        self._secret, self._hash = b"", _HASH_OF_NOTHING

    def hash_of(self, secret: bytes) -> bytes:
        """The hash of a secret as it was sent."""
        if not compare_digest(secret, self._secret):
            self._secret, self._hash = secret, hash_secret(secret.decode("latin-1"))
        return self._hash


class Authenticator:
    """Knows callers by their secret's hash: the secret is neither stored nor compared here, so nothing leaks by timing.

    A key that was revoked is refused from the moment that `revoke` tells of it (api/process/key_watch.py). Where nobody
    tells, a key is asked for again after FRESH_S; while PostgreSQL is down it is trusted for STALE_S more. Memory is
    bounded.
    """

    def __init__(self, mode: Literal["keys", "off"], find: Find, clock: Callable[[], float] = time.monotonic) -> None:
        self._mode = mode
        self._find = find
        self._clock = clock
        self._known: dict[bytes, Remembered] = {}
        self._unknown: dict[bytes, float] = {}
        self._flights: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._revoked: dict[str, None] = {}
        self._doubts = 0

    def revoke(self, key_id: str) -> None:
        """From now on this key opens nothing, whatever is remembered of it or on its way here."""
        _put(self._revoked, key_id, None)

    def doubt(self) -> None:
        """Ask for each key once more before it opens anything: revocations may have been missed."""
        self._doubts += 1
        for remembered in self._known.values():
            remembered.fresh_until = self._clock()
            remembered.is_failing = False

    def recognize(self, named: Mapping[bytes, bytes], last: LastSecret) -> Caller | None:
        """The caller, where that is known at once; None where only `admit` can tell, or tell why not.

        `named` has each header once, `last` is of their connection.
        """
        if self._mode == "off":
            return ANONYMOUS
        secret, bearer = named.get(b"x-api-key"), named.get(b"authorization")
        if bearer is not None:
            if secret is not None or not bearer.startswith(b"Bearer "):
                return None
            secret = bearer[len(b"Bearer ") :]
        if secret is None:
            return None
        remembered = self._known.get(last.hash_of(secret))
        if remembered is None or self._clock() >= remembered.fresh_until:
            return None
        return _caller_of(remembered.key, self._revoked)

    async def admit(self, headers: RawHeaders, scope: Literal["storefront", "operator"]) -> Caller:
        """The caller, who may use routes of this scope. Raises ProblemRaised, or Unavailable when nobody can tell."""
        caller = ANONYMOUS if self._mode == "off" else await self._identify(headers)
        if scope == "operator" and caller.scope != "operator":
            raise ProblemRaised(problem("forbidden", "This route takes an operator's key."))
        return caller

    async def _identify(self, headers: RawHeaders) -> Caller:
        secrets = set(_secrets(headers))
        if len(secrets) != 1:
            detail = (
                "Send a key as Authorization: Bearer … or X-API-Key." if not secrets else "Send one key, not several."
            )
            raise _unauthenticated(detail)
        secret = secrets.pop()
        key = await self._key(hash_secret(secret)) if _SECRET.match(secret) else None
        caller = None if key is None else _caller_of(key, self._revoked)
        if caller is None:
            raise _unauthenticated("This key is unknown or was revoked.")
        return caller

    async def _key(self, secret_hash: bytes) -> ApiKey | None:
        now = self._clock()
        remembered = self._known.get(secret_hash)
        if remembered is None:
            if self._unknown.get(secret_hash, now) > now:
                return None
            return await self._look_up(secret_hash)
        if now < remembered.fresh_until:
            return remembered.key
        age_s = now - remembered.checked_at
        if remembered.is_failing and age_s <= STALE_S:
            if now - remembered.asked_at > RETRY_S:
                self._start(secret_hash)
            return remembered.key
        try:
            return await self._look_up(secret_hash)
        except Unavailable:
            if age_s > STALE_S:
                raise
            return remembered.key

    async def _look_up(self, secret_hash: bytes) -> ApiKey | None:
        return await asyncio.shield(self._start(secret_hash))

    def _start(self, secret_hash: bytes) -> asyncio.Task[ApiKey | None]:
        """One question at a time for one key, however many wait for its answer."""
        flight = self._flights.get(secret_hash)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(self._fly(secret_hash))
            self._flights[secret_hash] = flight
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
        return flight

    async def _fly(self, secret_hash: bytes) -> ApiKey | None:
        remembered, doubts = self._known.get(secret_hash), self._doubts
        if remembered is not None:
            remembered.asked_at = self._clock()
        try:
            key = await self._find(secret_hash)
        except Unavailable:
            if remembered is not None:
                remembered.is_failing = True
            raise
        finally:
            del self._flights[secret_hash]
        now = self._clock()
        if key is None:
            self._known.pop(secret_hash, None)
            _put(self._unknown, secret_hash, now + FRESH_S)
        else:
            is_current = doubts == self._doubts
            _put(self._known, secret_hash, Remembered(key, now, now, now + FRESH_S if is_current else now))
        return key


def _put(memory: dict[K, V], key: K, value: V) -> None:
    memory.pop(key, None)
    if len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value


def _caller_of(key: ApiKey, revoked: Container[str]) -> Caller | None:
    return None if key.revoked_at is not None or key.id in revoked else Caller(key.id, key.scope)


def _secrets(headers: RawHeaders) -> Iterator[str]:
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin-1").strip().partition(" ")
            if scheme.lower() == "bearer":
                yield secret.strip()
        elif name == b"x-api-key":
            yield value.decode("latin-1").strip()


def _unauthenticated(detail: str) -> ProblemRaised:
    return ProblemRaised(problem("unauthenticated", detail), {"WWW-Authenticate": "Bearer"})
