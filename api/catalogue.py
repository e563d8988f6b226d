"""The catalogue in this process's memory: what reads are served from, and how changes get into it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec
from msgspec import Struct

from api.access.authentication import Caller
from api.messages.errors import Problem, problem
from api.messages.pages import bad_cursor, decode_cursor, encode_cursor
from api.messages.replies import Reply
from api.process.database import Database
from engine.catalogue import Catalogue, Category, Item, Product, Variant, rows_after
from engine.coupons import Coupon
from engine.errands import in_task
from engine.errors import Unavailable
from engine.idempotency import fingerprint
from engine.pricing import Rule
from persistence.catalogue import DELETIONS_KEPT_S, begin_change, load, load_up_to, read_version
from persistence.idempotency import KeyedChange, recall, remember
from persistence.pool import Connection, Pool

log = logging.getLogger("holdfast.catalogue")

EVERY_S = 0.5
LOAD_TIMEOUT_S = 30.0
FIRST_WAIT_S = 3.0
CHANGE_TIMEOUT_S = 10.0
MAX_SCANNED = 50_000
MAX_POSITION = 1 << 62

P = TypeVar("P", Category, Product, Variant, Rule, Coupon, Item)


class Change(Struct, frozen=True):
    """A change of the catalogue under way: `catalogue` is the truth until it commits, its rows carry `version`."""

    connection: Connection
    catalogue: Catalogue
    version: int


Work = Callable[[Change], Awaitable[Reply | Problem]]


class _UnchangedError(Exception):
    """Rolls a change back: it was refused, or had been made before."""

    def __init__(self, outcome: Reply | Problem) -> None:
        super().__init__()
        self.outcome = outcome


class CatalogueMemory:
    """One immutable catalogue a process, replaced when PostgreSQL has a newer one.

    While PostgreSQL is away the last one is served. A process reads its own changes; others' it sees within a second.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: Catalogue | None = None
        self._checked_at = 0.0
        self._loading = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._told = ""

    async def current(self) -> Catalogue:
        """The catalogue to read from. Raises Unavailable when there never was one, after FIRST_WAIT_S at most."""
        if self._known is None:
            await in_task()
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_WAIT_S):
                    await self.refresh(at_least=1)
        if self._known is None:
            raise Unavailable("the catalogue is not loaded yet")
        return self._known

    async def run(self) -> None:
        """Look for changes for ever."""
        while True:
            try:
                await self.refresh()
            except Unavailable as error:
                self._tell(error.reason)
            except Exception:  # the next look may succeed
                log.exception("the catalogue cannot be loaded")
            else:
                self._tell("")
            await asyncio.sleep(EVERY_S)

    def _tell(self, reason: str) -> None:
        if reason and not self._told:
            log.warning("the catalogue is not brought up to date: %s", reason)
        self._told = reason

    async def refresh(self, at_least: int = 0) -> None:
        """Load what changed, unless it is known up to version `at_least` by now. Raises Unavailable."""
        async with self._loading:
            if at_least and self._known is not None and self._known.version >= at_least:
                return
            await self._database.ask(self._load, LOAD_TIMEOUT_S if self._known is None else CHANGE_TIMEOUT_S)

    async def _load(self, pool: Pool) -> None:
        started = self._clock()
        async with pool.acquire() as connection:
            known = self._usable(started)
            if known is None or await read_version(connection) != known.version:
                self._known = await load(connection, known)
        self._checked_at = started

    def _usable(self, now: float) -> Catalogue | None:
        """What is known, unless deletions since may be forgotten by now."""
        return self._known if now - self._checked_at < DELETIONS_KEPT_S / 2 else None

    async def _adopt(self, truth: Catalogue) -> None:
        """Serve what a refusal or a replay was judged by, so that whoever reads after it sees why."""
        async with self._loading:
            if self._known is None or truth.version > self._known.version:
                self._known = truth

    async def change(self, work: Work, keyed: KeyedChange | None = None) -> Reply | Problem:
        """Do `work` in one transaction and remember its answer under the key; a problem rolls it back.

        A key that was answered gets its first answer again, or the problem of another payload. A retry that comes
        while the first is running waits for it. Raises Unavailable; asking again with the same key tells what became
        of it.
        """

        async def transact(pool: Pool) -> tuple[int, Reply | Problem]:
            async with self._changing, pool.acquire() as connection, connection.transaction():
                version = await begin_change(connection)
                truth = await load_up_to(connection, version - 1, self._usable(self._clock()))
                await self._adopt(truth)
                if keyed is not None:
                    await _replay(connection, keyed)
                outcome = await work(Change(connection, truth, version))
                if isinstance(outcome, Problem):
                    raise _UnchangedError(outcome)
                if keyed is not None:
                    await remember(connection, keyed, outcome.status, outcome.encode(), outcome.etag)
            return version, outcome

        try:
            version, outcome = await self._database.ask(transact, CHANGE_TIMEOUT_S)
        except _UnchangedError as unchanged:
            return unchanged.outcome
        try:
            await self.refresh(version)
        except Unavailable:
            log.warning("a change was made, but the catalogue cannot be loaded after it")
        return outcome


async def _replay(connection: Connection, keyed: KeyedChange) -> None:
    first = await recall(connection, keyed)
    if first is None:
        return
    if first.fingerprint != keyed.fingerprint:
        detail = "This Idempotency-Key was used with another payload: use a new one."
        raise _UnchangedError(problem("idempotency-key-reused", detail))
    raise _UnchangedError(Reply(first.status, msgspec.Raw(first.body), replayed=True, etag=first.etag))


def keyed_change(caller: Caller, verb: str, key: str | None, payload: Struct) -> KeyedChange | None:
    """A change as its client's key names it; None without a key."""
    return None if key is None else KeyedChange(caller.client, verb, key, fingerprint(payload))


def page(
    rows: Sequence[P], limit: int, cursor: str | None, keep: Callable[[P], bool] = lambda _: True
) -> tuple[list[P], str | None]:
    """At most `limit` of the rows that are to be kept, and where the next page starts. Raises ProblemRaised.

    Rows are in order of creation, so a page stays as it is while others are added. At most MAX_SCANNED rows are looked
    at: where few are kept a page may be short, and its cursor leads on all the same.
    """
    found: list[P] = []
    index = rows_after(rows, position_of(cursor))
    end = min(len(rows), index + MAX_SCANNED)
    while index < end:
        row = rows[index]
        if keep(row):
            if len(found) == limit:
                return found, encode_cursor(str(found[-1].position))
            found.append(row)
        index += 1
    return found, encode_cursor(str(rows[end - 1].position)) if end < len(rows) else None


def position_of(cursor: str | None) -> int:
    """The position that a page starts after. Raises ProblemRaised."""
    if cursor is None:
        return -1
    place = decode_cursor(cursor)
    if not place.isascii() or not place.isdigit() or not 0 < int(place) < MAX_POSITION:
        raise bad_cursor()
    return int(place)
