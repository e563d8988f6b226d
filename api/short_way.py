"""The short way: the hottest routes served in front of Litestar, by the same functions that its routes call.

Litestar's own cost for a request is several times that of making a hold. Only routing, headers and the sending of bytes
are different here; keys, limits, bodies, outcomes, problems and documentation are said once, where they always are.
A request that differs by so much as a trailing slash takes Litestar's way, with the same answer.
"""

from __future__ import annotations

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from api import holds
from api.authentication import Caller
from api.bodies import check_content_type, decode_body
from api.errors import MEDIA_TYPE as PROBLEM_TYPE
from api.errors import Problem, encode_problem, problem_of_exception
from api.holds import HOLDS_PATH, CommitRequest, HoldRequest
from api.idempotency import idempotency_key
from api.limits import read_body
from api.replies import MEDIA_TYPE, REPLAYED_HEADER, Reply
from api.resources import Resources

COMMIT_END = "/commit"
COMMIT_TEMPLATE = f"{HOLDS_PATH}/{{hold_id}}{COMMIT_END}"

_HOLDS_START = f"{HOLDS_PATH}/"
_JSON = (b"content-type", MEDIA_TYPE.encode())
_PROBLEM = (b"content-type", PROBLEM_TYPE.encode())
_REPLAYED = (REPLAYED_HEADER.lower().encode(), b"true")

Headers = list[tuple[bytes, bytes]]


class ShortWay:
    """Serves `POST /holds` and `POST /holds/{id}/commit`; everything else is `app`'s."""

    def __init__(self, app: ASGIApp, resources: Resources) -> None:
        self._app = app
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "POST":
            path = scope["path"]
            if path == HOLDS_PATH:
                scope["path_template"] = HOLDS_PATH
                await self._serve(scope, receive, send, None)
                return
            if path.startswith(_HOLDS_START) and path.endswith(COMMIT_END):
                hold_id = path[len(_HOLDS_START) : -len(COMMIT_END)]
                if hold_id and "/" not in hold_id:
                    scope["path_template"] = COMMIT_TEMPLATE
                    await self._serve(scope, receive, send, hold_id)
                    return
        await self._app(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send, hold_id: str | None) -> None:
        extra: Headers = []
        try:
            outcome = await self._judge(scope, receive, hold_id)
        except Exception as error:  # noqa: BLE001 - whatever it was becomes the answer, as it does in Litestar
            raised = problem_of_exception(error)
            outcome = raised.problem
            extra = [(name.lower().encode(), value.encode()) for name, value in raised.headers.items()]
        if isinstance(outcome, Problem):
            status, kind, body = outcome.status, _PROBLEM, encode_problem(outcome, scope["path"])
        else:
            status, kind, body = outcome.status, _JSON, msgspec.json.encode(outcome.body)
            if outcome.replayed:
                extra.append(_REPLAYED)
        headers = [kind, (b"content-length", str(len(body)).encode()), *extra]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _judge(self, scope: HTTPScope, receive: Receive, hold_id: str | None) -> Reply | Problem:
        headers: Headers = scope["headers"]  # type: ignore[assignment]
        resources = self._resources
        caller: Caller = await resources.authenticator.admit(headers, "storefront")
        body = await read_body(headers, receive, resources.settings.body_limit_bytes)
        if body:
            check_content_type(headers)
        if hold_id is None:
            wanted = decode_body(HoldRequest, body)
            return await holds.place(resources, caller, idempotency_key(headers), wanted)
        reference = decode_body(CommitRequest, body) if body else holds.NO_REFERENCE
        return await holds.commit(resources, caller, idempotency_key(headers), hold_id, reference)
