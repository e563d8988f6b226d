"""Who calls and what they may do: API keys, looked up by the hash of their secret and remembered for seconds."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from api.errors import ProblemRaised, problem
from api.limits import RawHeaders
from engine.errors import Unavailable
from persistence.api_keys import SECRET_PREFIX, ApiKey, Scope, hash_secret

FRESH_S = 3.0
STALE_S = 300.0
RETRY_S = 1.0
MAX_REMEMBERED = 10_000
MAX_SECRET_LENGTH = 200

RouteScope = Literal["open", "storefront", "operator"]
Find = Callable[[bytes], Awaitable[ApiKey | None]]

_SECRET = re.compile(rf"{SECRET_PREFIX}[A-Za-z0-9_-]{{20,{MAX_SECRET_LENGTH}}}\Z")


class Caller(Struct, frozen=True):
    """Who asks: `client` keeps one caller's idempotency keys apart from another's."""

    client: str
    scope: Scope


ANONYMOUS = Caller("anonymous", "operator")


def allow(scope: RouteScope) -> dict[str, Any]:
    """The `opt` of a route that callers of this scope may use; an operator may use every route."""
    return {"scope": scope}


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Litestar guard: lets only those in whom the route's declared scope allows. Raises ProblemRaised."""
    if connection.scope.get("method") == "OPTIONS":
        return
    scope: RouteScope = handler.opt["scope"]
    if scope == "open":
        return
    authenticator: Authenticator = connection.app.state.resources.authenticator
    connection.scope["user"] = await authenticator.admit(connection.scope["headers"], scope)


class Remembered(msgspec.Struct):
    """A key as PostgreSQL told it, when that was, and whether asking again has failed since."""

    key: ApiKey
    checked_at: float
    asked_at: float
    is_failing: bool = False


class Authenticator:
    """Knows callers by their secret's hash: the secret is neither stored nor compared, so nothing leaks by timing.

    A key is asked for again after FRESH_S, so a revoked one is refused within seconds; while PostgreSQL is down it is
    trusted for STALE_S more. Memory is bounded.
    """

    def __init__(self, mode: Literal["keys", "off"], find: Find, clock: Callable[[], float] = time.monotonic) -> None:
        self._mode = mode
        self._find = find
        self._clock = clock
        self._known: dict[bytes, Remembered] = {}
        self._unknown: dict[bytes, float] = {}
        self._flights: dict[bytes, asyncio.Task[ApiKey | None]] = {}

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
        if key is None or key.revoked_at is not None:
            raise _unauthenticated("This key is unknown or was revoked.")
        return Caller(key.id, key.scope)

    async def _key(self, secret_hash: bytes) -> ApiKey | None:
        now = self._clock()
        remembered = self._known.get(secret_hash)
        if remembered is None:
            if self._unknown.get(secret_hash, now) > now:
                return None
            return await self._look_up(secret_hash)
        age_s = now - remembered.checked_at
        if age_s <= FRESH_S:
            return remembered.key
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
        remembered = self._known.get(secret_hash)
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
            _put(self._known, secret_hash, Remembered(key, now, now))
        return key


def _put(memory: dict[bytes, Any], secret_hash: bytes, value: Any) -> None:
    memory.pop(secret_hash, None)
    if len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[secret_hash] = value


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
