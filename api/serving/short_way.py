"""The short way: the hottest routes served straight from the server's protocol, past ASGI and Litestar.

An ASGI application gets a task, a message for its body and two writes to its socket for each request; Litestar adds
several times that. A hot request is judged in the callback that brought the last byte of its body, and answered in one
write. Keys, limits, bodies, outcomes, problems and documentation are said once, where they always are.
A request that differs by so much as a trailing slash or a chunked body takes Litestar's way, with the same answer.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from msgspec.structs import replace
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.access.authentication import LastSecret
from api.messages.bodies import check_content_type
from api.messages.errors import MEDIA_TYPE as PROBLEM_TYPE
from api.messages.errors import Problem, encode_problem, problem_of_exception
from api.messages.replies import MEDIA_TYPE, REPLAYED_HEADER, Reply
from api.process.observation import CLIENT_GONE, Headers, Observer
from api.process.resources import Resources
from api.serving.hot_routes import HotRoute, Request, find_hot
from api.serving.wire import CLOSING, head_lines
from engine.errands import Errand

_JSON = MEDIA_TYPE.encode()
_PROBLEM = PROBLEM_TYPE.encode()
_HEAD = b"%b%bcontent-type: %b\r\n"
_ANSWER = b"%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
_REPLAYED = (REPLAYED_HEADER.lower().encode(), b"true")


class _NobodyWaits:
    """In the place of a cycle's event, for which an ASGI application would wait."""

    def set(self) -> None:
        """Wake nobody."""


class HotRequest:
    """A request on the short way, and what uvicorn's protocol asks of a connection's cycle.

    `headers` have their names in lower case, `named` has each of them once.
    """

    __slots__ = (
        "body", "disconnected", "headers", "id", "is_its_turn", "keep_alive", "more_body", "named", "protocol",
        "response_complete", "response_started", "route", "started", "url",
    )  # fmt: skip

    scope: ClassVar = {"method": "POST"}
    message_event: ClassVar = _NobodyWaits()

    def __init__(
        self,
        protocol: ShortWayProtocol,
        route: HotRoute,
        of: str,
        headers: Headers,
        named: dict[bytes, bytes],
        keep_alive: bool,  # noqa: FBT001 - given by its name it would cost a dict for each request
    ) -> None:
        self.protocol = protocol
        self.url = protocol.url
        self.route = route
        self.id = of
        self.headers = headers
        self.named = named
        self.keep_alive = keep_alive
        self.started = time.perf_counter()
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.is_its_turn = self.response_started = self.response_complete = self.disconnected = False

    def add(self, part: bytes) -> None:
        """The next part of the body; nearly always it is the only one."""
        if not self.body:
            self.body = part
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += part


class ShortWay:
    """Judges hot requests and puts their answers into bytes."""

    def __init__(self, resources: Resources, observer: Observer) -> None:
        self._resources = resources
        self._observer = observer
        self._defaults: Headers = []
        self._heads: dict[tuple[int, bytes], bytes] = {}

    def take(self, protocol: ShortWayProtocol) -> HotRequest | None:
        """The request, if it can go this way: a hot route, no header twice, a body of a length told and allowed."""
        parser = protocol.parser
        found = find_hot(parser.get_method(), protocol.url)
        if found is None:
            return None
        route, of = found
        headers = protocol.headers
        named = dict(headers)
        settings = self._resources.settings
        limit = settings.batch_body_limit_bytes if route.is_batch else settings.body_limit_bytes
        length = named.get(b"content-length", b"0")
        if len(named) != len(headers) or not length.isdigit() or int(length) > limit:
            return None
        if b"transfer-encoding" in named or b"expect" in named:
            return None
        # HTTP/1.0 keeps a connection only where a header asks for it, and the version is told as a new text each time.
        is_told = b"connection" in named or b"proxy-connection" in named
        keep_alive = parser.should_keep_alive() and not (is_told and parser.get_http_version() == "1.0")
        return HotRequest(protocol, route, of, headers, named, keep_alive)

    async def serve(self, request: HotRequest) -> None:
        """Judge a request whose body is complete, and answer it."""
        observer = self._observer
        request_id = observer.request_id(request.named.get(b"x-request-id"))
        extra: Headers = []
        status = CLIENT_GONE
        try:
            try:
                authenticator = self._resources.authenticator
                caller = authenticator.recognize(request.named, request.protocol.last_secret)
                if caller is None:
                    caller = await authenticator.admit(request.headers, "storefront")
                if self._resources.rate_limits is not None:
                    caller = replace(caller, quota=await self._resources.rate_limits.admit(caller.client, extra))
                body = request.body
                if body and request.named.get(b"content-type") != _JSON:
                    check_content_type(request.headers)
                told = Request(caller, request.named.get(b"idempotency-key"), request.id, body)
                outcome = await request.route.serve(self._resources, told)
            except Exception as error:  # noqa: BLE001 - whatever it was becomes the answer, as it does in Litestar
                raised = problem_of_exception(error)
                extra += [(name.lower().encode(), value.encode()) for name, value in raised.headers.items()]
                outcome = raised.problem
            flow = request.protocol.flow
            if flow.write_paused and not request.disconnected:
                await flow.drain()
            if not request.disconnected:
                status = outcome.status
                self._answer(request, request_id, outcome, extra)
        finally:
            if not request.response_complete:  # gone, or broken off: nobody shall wait for ever
                request.protocol.transport.close()
            seconds = time.perf_counter() - request.started
            observer.record(request_id, request.route.template, "POST", status, seconds)

    def _answer(self, request: HotRequest, request_id: bytes, outcome: Reply | Problem, extra: Headers) -> None:
        """Write a whole answer at once and end the cycle, as uvicorn's own does in two steps."""
        protocol = request.protocol
        if isinstance(outcome, Problem):
            kind, body = _PROBLEM, encode_problem(outcome, request.url.decode())
        else:
            kind, body = _JSON, outcome.encode()
            if outcome.replayed:
                extra.append(_REPLAYED)
        is_last = not request.keep_alive or self._observer.is_draining
        if is_last:
            extra.append(CLOSING)
        head = self._head(protocol.server_state.default_headers, outcome.status, kind)
        more = head_lines(extra) if extra else b""
        protocol.transport.write(_ANSWER % (head, len(body), request_id, more, body))
        request.response_started = request.response_complete = True
        if is_last:
            protocol.transport.close()
        protocol.on_response_complete()

    def _head(self, defaults: Headers, status: int, kind: bytes) -> bytes:
        """How answers of this status and content type begin; uvicorn makes `defaults` anew when their date changes."""
        if defaults is not self._defaults:
            self._defaults, self._heads = defaults, {}
        head = self._heads.get((status, kind))
        if head is None:
            head = self._heads[status, kind] = _HEAD % (STATUS_LINE[status], head_lines(defaults), kind)
        return head


class ShortWayProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which runs what ShortWay takes as errands and leaves the rest to the application."""

    # uvicorn's own types know of no other cycles
    cycle: Any
    pipeline: Any

    def __init__(self, short_way: ShortWay, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._short_way = short_way
        self.last_secret = LastSecret()

    def on_message_begin(self) -> None:
        """Begin without a scope: only the application's requests need one."""
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it, its name in lower case; uvicorn would look for Expect here, which only the application answers."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        request = self._short_way.take(self)
        if request is None:
            self._begin_for_application()
            super().on_headers_complete()
            return
        earlier, self.cycle = self.cycle, request
        if earlier is None or earlier.response_complete:
            request.is_its_turn = True
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))

    def _begin_for_application(self) -> None:
        """What uvicorn would have had by the end of the head."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.headers, self.scope["headers"] = url, headers, headers
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )

    def _start_asgi_task(self, cycle: RequestResponseCycle | HotRequest, app: Any) -> None:
        if isinstance(cycle, HotRequest):
            cycle.is_its_turn = True
            if not cycle.more_body:
                # Not from within the task of the request before, which this one would take for its own.
                self.loop.call_soon(self._serve_if_complete, cycle)
        elif not self.transport.is_closing():
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        request = self.cycle
        if isinstance(request, HotRequest):
            request.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        request = self.cycle
        if isinstance(request, HotRequest):
            request.more_body = False
            self._serve_if_complete(request)
        else:
            super().on_message_complete()

    def _serve_if_complete(self, request: HotRequest) -> None:
        is_ready = request.is_its_turn and not request.more_body
        # What follows an answer that ends its connection is not answered, so it must not be done either.
        if is_ready and not request.disconnected and not self.transport.is_closing():
            Errand(self._short_way.serve(request)).step()
