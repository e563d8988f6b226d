"""Preconditions: `ETag` names the state that something is in, `If-Match` lets a change happen in that state only."""

from __future__ import annotations

from api.messages.body_limits import RawHeaders
from api.messages.errors import Problem, problem


def etag_of(version: int) -> str:
    """A strong tag for the state of a row."""
    return f'"{version}"'


def unmet(headers: RawHeaders, version: int) -> Problem | None:
    """The problem when If-Match was sent and names neither this state nor `*` (RFC 9110, 13.1.1).

    Tags are compared strongly: a weak one never matches.
    """
    given = [value.decode("latin-1") for name, value in headers if name == b"if-match"]
    if not given:
        return None
    tags = {tag.strip() for value in given for tag in value.split(",")}
    if "*" in tags or etag_of(version) in tags:
        return None
    return problem("precondition-failed", f"It is at {etag_of(version)} now; read it again before you change it.")
