"""Moments: ms since 1970, as Redis and the domain count them; exact both ways.

Every connection of a pool takes and gives PostgreSQL's timestamps as such (see give_and_take_ms): to make datetimes of
them, which asyncpg then takes apart again, was a sixth of the worker's part of a hold.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from engine.events import MAX_AT_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

_FIRST_MS = -62_135_596_800_000  # the beginning of the year 1
_POSTGRES_EPOCH_MS = 946_684_800_000
"""When 2000 began, from where PostgreSQL counts microseconds."""


async def give_and_take_ms(connection: Any) -> None:
    """Let a connection of asyncpg's take timestamps as ms since 1970, and give them so, rounded down."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode, decoder=_decode, format="tuple"
    )


@lru_cache(maxsize=4_096)
def _encode(ms: int) -> tuple[int]:
    """Cached, since what one batch made has the same few."""
    if not _FIRST_MS <= ms <= MAX_AT_MS:
        raise OverflowError(f"no calendar has a time of {ms} ms")
    return ((ms - _POSTGRES_EPOCH_MS) * 1_000,)


def _decode(microseconds: tuple[int]) -> int:
    return microseconds[0] // 1_000 + _POSTGRES_EPOCH_MS


def timestamp_of(ms: int) -> datetime:
    """The timestamp `ms` milliseconds after 1970 began."""
    return _EPOCH + ms * _MS


def ms_of(timestamp: datetime) -> int:
    """Whole milliseconds from 1970's beginning to `timestamp`."""
    return (timestamp - _EPOCH) // _MS
