"""Connections to PostgreSQL: a small pool with short bounds, so that a stalled database is noticed."""

from __future__ import annotations

from typing import TypeAlias

import asyncpg

from persistence.moments import give_and_take_ms

# As text, because asyncpg's classes take type arguments only in its stubs.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

CONNECT_TIMEOUT_S = 5
COMMAND_TIMEOUT_S = 30
LONG_TIMEOUT_S = 3_600
"""For a question about everything that ever happened: the sum of a ledger, the customers of all holds."""
IDLE_IN_TRANSACTION_MS = 15_000
LOCK_TIMEOUT_MS = 10_000

FAULTS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that died in the midst of a question says so
    asyncpg.CannotConnectNowError,
    OSError,
    TimeoutError,
)
"""What a database that is down, starting or out of reach raises."""


async def connect(database_url: str, size: int) -> Pool:
    """A pool of at most `size` connections; raises one of FAULTS when the database is out of reach.

    A transaction whose client stalls is ended by the server, so that a stopped drainer cannot keep its lock. Timestamps
    are ms since 1970 in both directions.
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        init=give_and_take_ms,
        server_settings={
            "application_name": "holdfast",
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "timezone": "UTC",
        },
    )
