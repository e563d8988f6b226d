"""Limits on bodies: read no more than a route takes, whatever Content-Length says or leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import cast

from litestar.types import HTTPReceiveMessage, Receive

from api.messages.errors import ProblemRaised, invalid, problem

MAX_DISCARDED_BYTES = 1024 * 1024
DISCARD_TIMEOUT_S = 1.0

RawHeaders = Iterable[tuple[bytes, bytes]]


async def read_body(headers: RawHeaders, receive: Receive, limit_bytes: int) -> bytes:
    """The request's body. Raises ProblemRaised: body-too-large past the limit, or when the client went away in it.

    A body that is just too large is read to its end and thrown away, so that the client gets to see the answer; of
    anything longer nothing more is read, and the connection ends with the answer.
    """
    announced, expects_continue = _announced(headers)
    if announced > limit_bytes:
        if announced > limit_bytes + MAX_DISCARDED_BYTES or expects_continue:
            raise _too_large(limit_bytes, is_finished=False)
        raise _too_large(limit_bytes, is_finished=await _discard(receive))
    parts: list[bytes] = []
    size = 0
    while True:
        part, more = await _next_part(receive)
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes, is_finished=not more or await _discard(receive))
        parts.append(part)
        if not more:
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _next_part(receive: Receive) -> tuple[bytes, bool]:
    event = cast("HTTPReceiveMessage", await receive())
    if event["type"] == "http.disconnect":
        raise ProblemRaised(invalid("", "the connection ended before the body did"))
    return event.get("body", b""), event.get("more_body", False)


async def _discard(receive: Receive) -> bool:
    """Whether the body ended within bounds."""
    left = MAX_DISCARDED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_TIMEOUT_S):
            while left > 0:
                part, more = await _next_part(receive)
                left -= len(part)
                if not more:
                    return True
    return False


def _too_large(limit_bytes: int, *, is_finished: bool) -> ProblemRaised:
    refusal = problem("body-too-large", f"This route takes bodies of at most {limit_bytes} bytes.")
    return ProblemRaised(refusal, {} if is_finished else {"Connection": "close"})


def _announced(headers: RawHeaders) -> tuple[int, bool]:
    length, expects_continue = 0, False
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"expect":
            expects_continue = True
    return length, expects_continue
