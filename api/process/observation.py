"""Observation: each request gets an id, a line in the log and its place in the metrics, whichever way it is served."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Iterable
from urllib.parse import unquote

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from api.process.logs import FIELDS
from api.process.metrics import UNMATCHED
from api.process.resources import Resources
from api.serving.wire import CLOSING

log = logging.getLogger("holdfast.access")

CLIENT_GONE = 499  # nginx's number for a client that left before its answer
_ESCAPED_SLASH = re.compile(rb"%2[fF]")
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")

Headers = list[tuple[bytes, bytes]]


class Observer:
    """Names requests and records how they ended."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = itertools.count(1)

    def request_id(self, wished: bytes | None) -> bytes:
        """The caller's X-Request-Id where it is sane, otherwise a new one: this process's own, and a number."""
        if wished is not None and _SANE_ID.match(wished):
            return wished
        return b"%s-%x" % (self._prefix, next(self._numbers))

    @property
    def is_draining(self) -> bool:
        """Whether this process ends, and connections with the answers that they get."""
        return self._resources.health.is_draining

    def record(self, request_id: bytes, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request and, where that is wanted, log it."""
        self._resources.metrics.count_request(route, method, status, seconds)
        if self._resources.settings.access_log:
            fields = {
                "request_id": request_id.decode(),
                "method": method,
                "route": route,
                "status": status,
                "duration_ms": round(seconds * 1000, 2),
            }
            log.info("request", extra={FIELDS: fields})


class Observed:
    """Wraps Litestar. HEAD is served as GET without the body (the server leaves it out).

    A slash that is escaped is part of a name, not a border between two: it stays escaped, and names nothing.
    """

    def __init__(self, app: Litestar, observer: Observer) -> None:
        self._app: ASGIApp = app
        # Litestar's own answer to OPTIONS knows only the methods that were registered first.
        self._methods = {
            route.path_format: ", ".join(sorted(route.methods)).encode()
            for route in app.routes
            if isinstance(route, HTTPRoute)
        }
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        method = scope["method"]
        request_id = self._observer.request_id(dict(scope["headers"]).get(b"x-request-id"))
        status = CLIENT_GONE
        extra = [(b"x-request-id", request_id), *([CLOSING] if self._observer.is_draining else [])]

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*self._with_allow(message["headers"], inner), *extra]
            await send(message)

        inner: HTTPScope = scope.copy()
        if method == "HEAD":
            inner["method"] = "GET"
        if len(parts := _ESCAPED_SLASH.split(scope["raw_path"])) > 1:
            inner["path"] = "%2F".join(unquote(part.decode("ascii", "replace")) for part in parts)
        try:
            await self._app(inner, receive, send_observed)
        finally:
            route = inner.get("path_template") or UNMATCHED
            self._observer.record(request_id, route, method, status, time.perf_counter() - started)

    def _with_allow(self, headers: Iterable[tuple[bytes, bytes]], scope: HTTPScope) -> Iterable[tuple[bytes, bytes]]:
        """The headers, with every method of the path in Allow, and HEAD beside GET."""
        if not any(name == b"allow" for name, _ in headers):
            return headers
        template = scope.get("path_template", "")
        allow = self._methods.get(template)
        return [
            (name, (allow or value).replace(b"GET", b"GET, HEAD") if name == b"allow" else value)
            for name, value in headers
        ]
