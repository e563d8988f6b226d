"""Windows of time in requests: from one instant on and before another, each of which may be left open."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from api.messages.errors import Problem, ProblemRaised, invalid
from persistence.moments import ms_of

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339", examples=["2026-11-27T00:00:00Z"])]


def read_instant(name: str, text: str) -> datetime:
    """The instant in a query, as strictly as in a body: RFC 3339 with its offset. Raises ProblemRaised."""
    try:
        return msgspec.convert(text, Instant)
    except msgspec.ValidationError:
        raise ProblemRaised(invalid(name, "must be an RFC 3339 time with its offset from UTC, such as Z")) from None


def judge_window(starts_name: str, starts: datetime | None, ends_name: str, ends: datetime | None) -> Problem | None:
    """Why there cannot be such a window; the names are those of the request's fields."""
    for name, instant in ((starts_name, starts), (ends_name, ends)):
        if instant is not None and not EARLIEST <= instant <= LATEST:  # others cannot be shown, or not be stored
            return invalid(name, f"must be in the years {EARLIEST.year} to {LATEST.year}")
    starts_ms, ends_ms = ms_if_given(starts), ms_if_given(ends)
    if starts_ms is not None and ends_ms is not None and ends_ms <= starts_ms:
        return invalid(ends_name, f"must be after {starts_name}")
    return None


def ms_if_given(instant: datetime | None) -> int | None:
    """Whole milliseconds since 1970, where there is an instant."""
    return None if instant is None else ms_of(instant)
