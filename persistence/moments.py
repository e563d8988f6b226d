"""Moments: ms since 1970, as Redis and the domain count them, and PostgreSQL's timestamps; exact both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@lru_cache(maxsize=4_096)
def timestamp_of(ms: int) -> datetime:
    """The timestamp `ms` milliseconds after 1970 began. Cached, since the events of a batch share theirs."""
    return _EPOCH + ms * _MS


def ms_of(timestamp: datetime) -> int:
    """Whole milliseconds from 1970's beginning to `timestamp`."""
    return (timestamp - _EPOCH) // _MS
