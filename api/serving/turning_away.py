"""Turning away: the last words to a connection that gets no further, and those for whom there is no place."""

from __future__ import annotations

import asyncio
from typing import Any

from api.messages.errors import MEDIA_TYPE, Problem, encode_problem, problem
from api.serving.wire import CLOSING, head_lines, whole_answer

PATIENCE_S = 2.0
MAX_TURNED_AWAY = 64
"""Connections that wait for their 503; any more are closed without a word."""

RETRY_AFTER = (b"retry-after", b"2")
TURNED_AWAY = problem("unavailable", "This server has as many connections as it takes.")


def last_words(refusal: Problem, *headers: tuple[bytes, bytes]) -> bytes:
    """A problem as the whole answer, after which the connection ends."""
    body = encode_problem(refusal, "")
    kind, length = (b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))
    return whole_answer(refusal.status, head_lines((kind, length, *headers, CLOSING)), body)


class TurnAway(asyncio.Protocol):
    """Answers the first bytes with its words, whatever they are."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, words: bytes, others: set[TurnAway]
    ) -> None:
        self._transport = transport
        self._words = words
        self._others = others
        self._timer = loop.call_later(PATIENCE_S, transport.abort)
        others.add(self)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing is read
        self._transport.write(self._words)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._timer.cancel()
        self._others.discard(self)


def turn_away(transport: Any, loop: asyncio.AbstractEventLoop, words: bytes, others: set[TurnAway]) -> None:
    """Give the connection to a TurnAway, or close it where too many wait for theirs."""
    if len(others) >= MAX_TURNED_AWAY:
        transport.abort()
    else:
        transport.set_protocol(TurnAway(transport, loop, words, others))
