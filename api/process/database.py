"""PostgreSQL as a request sees it: asked within a short time, or unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

from engine.errands import in_task
from engine.errors import Unavailable
from engine.settings import Settings
from persistence.pool import FAULTS, Pool, connect

ASK_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 2.0

T = TypeVar("T")


class Database:
    """The pool, which connects when it is first needed and again whenever the database comes back."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.require_database_url()
        self._size = settings.database_pool
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        if self._pool is None:
            raise Unavailable("PostgreSQL is not connected yet")
        return self._pool

    async def open(self) -> None:
        """Make the pool; needs no database yet."""
        self._pool = await connect(self._url, self._size)

    async def close(self) -> None:
        """Let go of every connection, by force when they do not end at once."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._pool.close()
        except (*FAULTS, asyncpg.PostgresError):
            with suppress(*FAULTS):
                self._pool.terminate()

    async def ask(self, question: Callable[[Pool], Awaitable[T]], timeout_s: float = ASK_TIMEOUT_S) -> T:
        """What `question` finds. Raises Unavailable when PostgreSQL does not answer in time.

        A question that is given up is not waited for: the driver ends it only once the server has answered.
        """
        await in_task()
        asking = asyncio.ensure_future(question(self.pool))
        try:
            done, _ = await asyncio.wait({asking}, timeout=timeout_s)
        finally:
            if not asking.done():
                asking.cancel()
                asking.add_done_callback(_forget)
        if not done:
            raise Unavailable(f"PostgreSQL is unavailable: no answer within {timeout_s:g} s")
        try:
            return asking.result()
        except asyncpg.UndefinedTableError as error:
            raise Unavailable("the database is not migrated: run holdfast migrate") from error
        except (*FAULTS, asyncpg.PostgresError) as error:
            raise Unavailable(f"PostgreSQL is unavailable: {error!r}") from error


def _forget(asked: asyncio.Future[Any]) -> None:
    """Look at what came of a question that nobody waits for, so that nobody is told of it either."""
    if not asked.cancelled():
        asked.exception()
