"""The Idempotency-Key header: 1 to 255 printable ASCII characters, bare or as a quoted string."""

from __future__ import annotations

import re

from api.messages.body_limits import RawHeaders
from api.messages.errors import ProblemRaised, invalid, problem
from engine.idempotency import MAX_KEY_LENGTH

HEADER = "Idempotency-Key"
_ESCAPED = re.compile(r"\\(.)")


def idempotency_key(headers: RawHeaders) -> str | None:
    """The key, without quotes; None when none was sent. Raises ProblemRaised for one that cannot be used."""
    given = [value for name, value in headers if name == b"idempotency-key"]
    if not given:
        return None
    if len(given) > 1:
        raise _unusable("sent more than once")
    return read_key(given[0])


def read_key(value: bytes) -> str:
    """The key in a header's value. Raises ProblemRaised for one that cannot be used."""
    text = value.decode("latin-1").strip(" \t")
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = _ESCAPED.sub(r"\1", text[1:-1])
    if not 1 <= len(text) <= MAX_KEY_LENGTH:
        raise _unusable(f"must have 1 to {MAX_KEY_LENGTH} characters")
    if not (text.isascii() and text.isprintable()):
        raise _unusable("must be printable ASCII")
    return text


def require(key: str | None) -> str:
    """The key that was sent. Raises ProblemRaised when none was."""
    if key is None:
        raise ProblemRaised(problem("idempotency-key-required", f"Send an {HEADER}, so that a retry changes nothing."))
    return key


def _unusable(message: str) -> ProblemRaised:
    return ProblemRaised(invalid(HEADER, message))
