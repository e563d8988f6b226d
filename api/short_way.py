"""The short way: the hottest routes served straight from the server's protocol, past ASGI and Litestar.

An ASGI application gets a task, a message for its body and two writes to its socket for each request; Litestar adds
several times that. A hot request is judged in the callback that brought the last byte of its body, and answered in one
write. Keys, limits, bodies, outcomes, problems and documentation are said once, where they always are.
A request that differs by so much as a trailing slash or a chunked body takes Litestar's way, with the same answer.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.authentication import Caller
from api.bodies import check_content_type
from api.errors import MEDIA_TYPE as PROBLEM_TYPE
from api.errors import Problem, encode_problem, problem_of_exception
from api.hot_routes import HotRoute, Request, find_hot
from api.observation import CLIENT_GONE, Headers, Observer
from api.replies import MEDIA_TYPE, REPLAYED_HEADER, Reply
from api.resources import Resources
from api.wire import CLOSING, whole_answer
from engine.errands import Errand

_JSON = (b"content-type", MEDIA_TYPE.encode())
_PROBLEM = (b"content-type", PROBLEM_TYPE.encode())
_REPLAYED = (REPLAYED_HEADER.lower().encode(), b"true")


class HotRequest(msgspec.Struct, frozen=True):
    """A request on its way: where its answer goes, its route, the id in its path, its headers, its start."""

    cycle: RequestResponseCycle
    route: HotRoute
    id: str
    headers: Headers
    named: dict[bytes, bytes]
    started: float


class ShortWay:
    """Judges hot requests and puts their answers into bytes."""

    def __init__(self, resources: Resources, observer: Observer) -> None:
        self._resources = resources
        self._observer = observer

    def take(self, cycle: RequestResponseCycle) -> HotRequest | None:
        """The request, if it can go this way: a hot route, no header twice, a body of a length told and allowed."""
        scope = cycle.scope
        found = find_hot(scope["method"], scope["path"])
        if found is None:
            return None
        route, of = found
        headers: Headers = scope["headers"]  # type: ignore[assignment]
        named = dict(headers)
        settings = self._resources.settings
        limit = settings.batch_body_limit_bytes if route.is_batch else settings.body_limit_bytes
        length = named.get(b"content-length", b"0")
        if len(named) != len(headers) or not length.isdigit() or int(length) > limit:
            return None
        if b"transfer-encoding" in named or b"expect" in named:
            return None
        return HotRequest(cycle, route, of, headers, named, time.perf_counter())

    async def serve(self, request: HotRequest) -> None:
        """Judge a request whose body is complete, and answer it."""
        cycle, named = request.cycle, request.named
        request_id = self._observer.request_id(named.get(b"x-request-id"))
        extra = self._observer.answer_headers(request_id)
        status = CLIENT_GONE
        try:
            outcome = await self._judge(request, extra)
            if isinstance(outcome, Problem):
                kind, body = _PROBLEM, encode_problem(outcome, cycle.scope["path"])
            else:
                kind, body = _JSON, msgspec.json.encode(outcome.body)
                if outcome.replayed:
                    extra.append(_REPLAYED)
            if cycle.flow.write_paused and not cycle.disconnected:
                await cycle.flow.drain()
            if not cycle.disconnected:
                status = outcome.status
                _answer(cycle, status, [kind, (b"content-length", b"%d" % len(body)), *extra], body)
        finally:
            seconds = time.perf_counter() - request.started
            self._observer.record(request_id, request.route.template, "POST", status, seconds)

    async def _judge(self, request: HotRequest, extra: Headers) -> Reply | Problem:
        resources = self._resources
        try:
            caller: Caller = await resources.authenticator.admit(request.headers, "storefront")
            if resources.rate_limits is not None:
                caller = await resources.rate_limits.admit(caller, extra)
            body = request.cycle.body
            if body and request.named.get(b"content-type") != _JSON[1]:
                check_content_type(request.headers)
            told = Request(caller, request.named.get(b"idempotency-key"), request.id, body)
            return await request.route.serve(resources, told)
        except Exception as error:  # noqa: BLE001 - whatever it was becomes the answer, as it does in Litestar
            raised = problem_of_exception(error)
            extra += [(name.lower().encode(), value.encode()) for name, value in raised.headers.items()]
            return raised.problem


def _answer(cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
    """Write a whole answer at once and end the cycle, as the cycle's own `send` does in two steps."""
    if not cycle.keep_alive and CLOSING not in headers:
        headers.append(CLOSING)
    cycle.transport.write(whole_answer(status, (*cycle.default_headers, *headers), body))
    cycle.response_started = cycle.response_complete = True
    if CLOSING in headers:
        cycle.transport.close()
    cycle.on_response()


class ShortWayProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which runs what ShortWay takes as errands and leaves the rest to the application."""

    def __init__(self, short_way: ShortWay, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._short_way = short_way
        self._awaiting_body: HotRequest | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        request = self._short_way.take(cycle) if app is self.app else None
        if request is None:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._awaiting_body = request
        else:
            Errand(self._short_way.serve(request)).step()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self._awaiting_body is not None:
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        request = self._awaiting_body
        if request is not None and request.cycle is self.cycle:
            self._awaiting_body = None
            Errand(self._short_way.serve(request)).step()
