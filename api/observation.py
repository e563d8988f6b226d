"""Observation: the outermost layer. Each request gets an id, a line in the log and its place in the metrics."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from api.logs import FIELDS
from api.metrics import UNMATCHED
from api.resources import Resources

log = logging.getLogger("holdfast.access")

CLIENT_GONE = 499  # nginx's number for a client that left before its answer
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")


class Observed:
    """Wraps the way into the application. HEAD is served as GET without the body (the server leaves it out)."""

    def __init__(self, app: Litestar, way: ASGIApp, resources: Resources) -> None:
        self._app = way
        # Litestar's own answer to OPTIONS knows only the methods that were registered first.
        self._methods = {
            route.path_format: ", ".join(sorted(route.methods)).encode()
            for route in app.routes
            if isinstance(route, HTTPRoute)
        }
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        method = scope["method"]
        request_id = _request_id(scope)
        status = CLIENT_GONE
        is_draining = self._resources.health.is_draining

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                closing = [(b"connection", b"close")] if is_draining else []
                headers = self._with_allow(message["headers"], inner)
                message["headers"] = [*headers, (b"x-request-id", request_id), *closing]
            await send(message)

        inner: HTTPScope = scope.copy()
        if method == "HEAD":
            inner["method"] = "GET"
        try:
            await self._app(inner, receive, send_observed)
        finally:
            self._record(request_id, inner, method, status, time.perf_counter() - started)

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

    def _record(self, request_id: bytes, scope: HTTPScope, method: str, status: int, seconds: float) -> None:
        route = scope.get("path_template") or UNMATCHED
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


def _request_id(scope: HTTPScope) -> bytes:
    """The caller's X-Request-Id where it is sane, otherwise a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.match(value):
            return value
    return secrets.token_hex(8).encode()
