"""The protocol: HTTP/1.1 as uvicorn speaks it, with bounds on what a client may take: bytes, headers, time, places.

Nothing is timed request by request: once a second every connection is looked at, and what made no progress since its
message began grows a second older.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import httptools
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.messages.errors import Problem, invalid, problem
from api.serving.turning_away import RETRY_AFTER, TURNED_AWAY, TurnAway, last_words, turn_away
from engine.settings import Settings

MAX_HEADERS = 100
MAX_PIPELINED = 32
"""Requests of one connection that wait for the answers before theirs."""

KEEP_ALIVE_S = 75  # longer than the 60 s of common load balancers, so that it is they who hang up
LINGER_S = 1.0
CROWDED = 0.75
"""The share of the connections from which on idle and slow ones are ended sooner."""

CROWDED_HEAD_S = 2
CROWDED_KEEP_ALIVE_S = 5
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Their routes do nothing before the whole body is there; the others do not look at a body."""

ANNOUNCE_BODY = (b"content-length", b"transfer-encoding")

BROKEN = "this is not HTTP/1.1 as this server reads it"


class Bounds(Struct, frozen=True, kw_only=True):
    """What one client may take. Times count from the first byte of a request, and are up to two seconds longer.

    `head_s` and `request_s` are for the arrival of a head and of a whole request, `answer_s` for the answer to be read.
    """

    head_bytes: int
    head_s: int
    request_s: int
    answer_s: int
    keep_alive_s: int
    connections: int
    turned_away: set[TurnAway]
    count: Callable[[str], None]
    """Told why a connection was ended."""

    @classmethod
    def of(cls, settings: Settings, connections: int, count: Callable[[str], None]) -> Bounds:
        head_s, request_s = settings.head_timeout_s, settings.request_timeout_s
        return cls(
            head_bytes=settings.head_limit_bytes,
            head_s=head_s,
            request_s=request_s,
            answer_s=2 * request_s,
            keep_alive_s=KEEP_ALIVE_S,
            connections=connections,
            turned_away=set(),
            count=count,
        )


class HeadTooLarge(Exception):
    """Breaks off the parser: too many headers."""


class UpgradeWithBody(Exception):
    """Breaks off the parser, which takes a body behind `Upgrade` for another protocol and would leave it out."""


class TooManyPipelined(Exception):
    """Breaks off the parser: more requests than may wait."""


class _Deaf:
    """In the parser's place when a connection is not listened to any more."""

    def feed_data(self, data: bytes) -> None:
        """Throw it away."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    What is refused here gets a problem, after the answers that are still owed, and the connection ends.
    A client that closed its half after a whole request still gets its answer.
    """

    # uvicorn's own types leave out that there is none of these before the first request
    parser: Any
    headers: Any
    cycle: Any

    def __init__(self, *, bounds: Bounds, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._bounds = bounds
        self._most_at_once = bounds.head_bytes // 8
        self._head_bytes = 0
        self._head: object = None
        self._complete: object = None
        self._seen: object = self  # so that the first sweep sees something new, and ages nothing
        self._age_s = 0
        self._last_words: bytes | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._bounds.connections:
            self.connections.discard(self)
            self._bounds.count("too-many-connections")
            words = last_words(TURNED_AWAY, *self.server_state.default_headers, RETRY_AFTER)
            turn_away(transport, self.loop, words, self._bounds.turned_away)

    def data_received(self, data: bytes) -> None:
        """Feed the parser with an eighth at most of what a head may have: where one begins and ends is not counted."""
        most = self._most_at_once
        if len(data) <= most:
            self._feed(data)
            return
        for start in range(0, len(data), most):
            self._feed(data[start : start + most])

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end_after_answer()  # nothing else is spoken here; the request itself is served
        except httptools.HttpParserError as error:
            match error.__context__:
                case HeadTooLarge():
                    self._refuse(problem("head-too-large", f"A request has at most {MAX_HEADERS} headers."))
                case UpgradeWithBody():
                    self._refuse(invalid("", "no other protocol is spoken here: leave out Upgrade"))
                case TooManyPipelined():
                    self._end_after_answer()
                case _:
                    self._refuse(invalid("", BROKEN))
        if self.headers is not self._complete:
            self._count_head(len(data))

    def _count_head(self, size: int) -> None:
        """Of a head that is not complete; where it began within these bytes, they are not counted."""
        if self.headers is not self._head:
            self._head, self._head_bytes = self.headers, 0
            return
        self._head_bytes += size
        limit = self._bounds.head_bytes
        if self._head_bytes > limit and self._last_words is None:
            self._refuse(problem("head-too-large", f"A request line and its headers have at most {limit} bytes."))

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            raise HeadTooLarge
        if len(self.pipeline) >= MAX_PIPELINED:
            raise TooManyPipelined
        if self.parser.should_upgrade() and any(name in ANNOUNCE_BODY for name, _ in self.headers):
            raise UpgradeWithBody
        super().on_headers_complete()
        self._complete = self.headers

    def on_response_complete(self) -> None:
        """Go on with what waits; uvicorn would set a timer here."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words is not None:
            self._say(self._last_words)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's own signature
        """The client sends no more; whether the connection stays open for what it is still owed."""
        if self._is_head_begun() or self._is_body_awaited():
            self._refuse(invalid("", "the connection ended before the request did"))
        elif self._is_answer_owed():
            self._end_after_answer()
        return self._is_answer_owed() and not self.transport.is_closing()

    def sweep(self, *, is_crowded: bool) -> None:
        """Called once a second: end what takes too long."""
        if self.headers is not self._seen:
            self._seen, self._age_s = self.headers, 0
            return
        self._age_s += 1
        age, bounds = self._age_s, self._bounds
        head_s = min(CROWDED_HEAD_S, bounds.head_s) if is_crowded else bounds.head_s
        if age >= bounds.answer_s and self.transport.get_write_buffer_size():
            bounds.count("answer-not-read")
            self.transport.abort()
        elif self._is_head_begun():
            if age >= head_s:
                self._refuse(problem("request-timeout", f"A head has to arrive within {bounds.head_s} s."))
        elif self._is_body_awaited():
            if age >= bounds.request_s:
                self._refuse(problem("request-timeout", f"A request has to arrive within {bounds.request_s} s."))
        elif not self._is_answer_owed():
            keep_alive_s = min(CROWDED_KEEP_ALIVE_S, bounds.keep_alive_s) if is_crowded else bounds.keep_alive_s
            if age >= (head_s if self.headers is None else keep_alive_s):
                self.transport.close()

    def _is_head_begun(self) -> bool:
        return self.headers is not self._complete

    def _is_body_awaited(self) -> bool:
        cycle = self.cycle
        is_begun = cycle is not None and not self._is_head_begun()
        return is_begun and cycle.more_body and not cycle.response_complete

    def _is_answer_owed(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_after_answer(self) -> None:
        """Listen no more; the connection ends with the last answer that is owed."""
        self.parser = _Deaf()
        if self._is_answer_owed():
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, refusal: Problem) -> None:
        """Listen no more, and end the connection with this problem, which is true: what is refused has no effect."""
        if self._last_words is not None or self.transport.is_closing():
            return
        self.parser = _Deaf()
        self._bounds.count(refusal.code)
        self._last_words = last_words(refusal, *self.server_state.default_headers)
        if self._is_body_awaited():
            self._break_off(self.cycle)
        elif not self._is_answer_owed():
            self._say(self._last_words)

    def _break_off(self, cycle: RequestResponseCycle) -> None:
        """Let a request that lacks the end of its body come to nothing."""
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()  # it never began; the one before it is answered first
        elif cycle.response_started or cycle.scope["method"] not in BODY_METHODS:
            self._last_words = None
            cycle.keep_alive = False  # its route does not wait for the body: the answer says what it did
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._say(self._last_words or b"")

    def _say(self, words: bytes) -> None:
        """Write, and close a moment later: what is closed over unread bytes takes the answer with it."""
        cycle = self.cycle
        if cycle is not None and not self._is_head_begun() and cycle.response_complete and cycle.more_body:
            self.transport.close()  # the request had its answer before its body broke
            return
        self.transport.write(words)
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)


def sweep(connections: Collection[Any], bounds: Bounds) -> None:
    """Age every connection by a second; of many connections, idle and slow ones are ended sooner."""
    is_crowded = len(connections) > CROWDED * bounds.connections
    for connection in tuple(connections):
        connection.sweep(is_crowded=is_crowded)
