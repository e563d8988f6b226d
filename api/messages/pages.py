"""Pages of a list: `limit` and an opaque `cursor` that names where the next page starts."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from litestar.params import QueryParameter

from api.messages.errors import ProblemRaised, invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_CURSOR_LENGTH = 200

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description=f"Items a page, at most {MAX_LIMIT}")]
Cursor = Annotated[
    str | None,
    QueryParameter(max_length=MAX_CURSOR_LENGTH, description="`next_cursor` of the page before; absent for the first"),
]


def encode_cursor(place: str) -> str:
    """An opaque cursor for a place in a list."""
    return base64.urlsafe_b64encode(place.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> str:
    """The place that a cursor names. Raises ProblemRaised for what is no cursor."""
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_cursor() from None
    if encode_cursor(place) != cursor:
        raise bad_cursor()
    return place


def bad_cursor() -> ProblemRaised:
    return ProblemRaised(invalid("cursor", "not a cursor of this list"))
