"""The short way: the hottest routes served in front of Litestar, by the same functions that its routes call.

Litestar's own cost for a request is several times that of making a hold. Only routing, headers and the sending of bytes
are different here; keys, limits, bodies, outcomes, problems and documentation are said once, where they always are.
A request that differs by so much as a trailing slash takes Litestar's way, with the same answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec import Struct

from api import cart_items, carts, checkout, holds
from api.authentication import Caller
from api.bodies import check_content_type, decode_body
from api.errors import MEDIA_TYPE as PROBLEM_TYPE
from api.errors import Problem, encode_problem, problem_of_exception
from api.idempotency import idempotency_key, require_key
from api.limits import RawHeaders, read_body
from api.observation import CLIENT_GONE, Headers, Observer
from api.replies import MEDIA_TYPE, REPLAYED_HEADER, Reply
from api.resources import Resources

_BASE = "/api/v1/"
_JSON = (b"content-type", MEDIA_TYPE.encode())
_PROBLEM = (b"content-type", PROBLEM_TYPE.encode())
_REPLAYED = (REPLAYED_HEADER.lower().encode(), b"true")


class Request(Struct, frozen=True):
    """What a hot route is told: who asks, the raw headers, the id in the path ("" where it has none) and the body."""

    caller: Caller
    headers: RawHeaders
    id: str
    body: bytes


async def _place(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(holds.HoldRequest, request.body)
    return await holds.place(resources, request.caller, idempotency_key(request.headers), wanted)


async def _commit(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(holds.CommitRequest, request.body) if request.body else holds.NO_REFERENCE
    return await holds.commit(resources, request.caller, idempotency_key(request.headers), request.id, wanted)


async def _open_cart(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(carts.CartRequest, request.body) if request.body else carts.NOBODY
    return await carts.open_cart(resources, request.caller, idempotency_key(request.headers), wanted)


async def _add_item(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(cart_items.ItemRequest, request.body)
    return await cart_items.add(resources, request.caller, idempotency_key(request.headers), request.id, wanted)


async def _check_out(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(checkout.CartCheckout, request.body) if request.body else checkout.AS_USUAL
    return await checkout.check_out(resources, request.caller, require_key(request.headers), request.id, wanted)


class Hot(Struct, frozen=True):
    """A route served here: its template, and what serves it."""

    template: str
    serve: Callable[[Resources, Request], Awaitable[Reply | Problem]]


HOT = {
    ("holds", ""): Hot("/api/v1/holds", _place),
    ("holds", "commit"): Hot("/api/v1/holds/{hold_id}/commit", _commit),
    ("carts", ""): Hot("/api/v1/carts", _open_cart),
    ("carts", "items"): Hot("/api/v1/carts/{cart_id}/items", _add_item),
    ("carts", "checkout"): Hot("/api/v1/carts/{cart_id}/checkout", _check_out),
}
"""By the noun and the verb of the path: /api/v1/<noun> or /api/v1/<noun>/<id>/<verb>."""


class ShortWay:
    """Serves POST on the routes of HOT; everything else is `app`'s."""

    def __init__(self, app: ASGIApp, resources: Resources, observer: Observer) -> None:
        self._app = app
        self._resources = resources
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "POST":
            path = scope["path"]
            if path.startswith(_BASE):
                noun, _, rest = path[len(_BASE) :].partition("/")
                of, _, verb = rest.partition("/")
                hot = HOT.get((noun, verb))
                if hot is not None and bool(of) is bool(verb) and (rest or not path.endswith("/")):
                    await self._serve(scope, receive, send, hot, of)
                    return
        await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, hot: Hot, of: str) -> None:
        started = time.perf_counter()
        headers: Headers = scope["headers"]  # type: ignore[assignment]
        request_id = self._observer.request_id(headers)
        extra = self._observer.answer_headers(request_id)
        status = CLIENT_GONE
        try:
            outcome = await self._judge(headers, receive, hot, of, extra)
            if isinstance(outcome, Problem):
                kind, body = _PROBLEM, encode_problem(outcome, scope["path"])
            else:
                kind, body = _JSON, msgspec.json.encode(outcome.body)
                if outcome.replayed:
                    extra.append(_REPLAYED)
            status = outcome.status
            told = [kind, (b"content-length", str(len(body)).encode()), *extra]
            await send({"type": "http.response.start", "status": status, "headers": told})
            await send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            self._observer.record(request_id, hot.template, "POST", status, time.perf_counter() - started)

    async def _judge(self, headers: Headers, receive: Receive, hot: Hot, of: str, extra: Headers) -> Reply | Problem:
        resources = self._resources
        try:
            caller: Caller = await resources.authenticator.admit(headers, "storefront")
            body = await read_body(headers, receive, resources.settings.body_limit_bytes)
            if body:
                check_content_type(headers)
            return await hot.serve(resources, Request(caller, headers, of, body))
        except Exception as error:  # noqa: BLE001 - whatever it was becomes the answer, as it does in Litestar
            raised = problem_of_exception(error)
            extra += [(name.lower().encode(), value.encode()) for name, value in raised.headers.items()]
            return raised.problem
