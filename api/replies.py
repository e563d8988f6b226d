"""Replies: what a noun answers, before it becomes bytes; the same values whichever way the request came in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Response
from msgspec import Meta, Struct

from api.errors import Problem, problem_response

MEDIA_TYPE = "application/json"
REPLAYED_HEADER = "Idempotent-Replayed"

Moment = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds",
        examples=["2026-01-02T03:04:05.678Z"],
        extra_json_schema={"format": "date-time"},
    ),
]


class Reply(Struct, frozen=True):
    """A request that was granted: status and body; `replayed` when its idempotency key had been answered before."""

    status: int
    body: Struct
    replayed: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {REPLAYED_HEADER: "true"} if self.replayed else {}


def respond(outcome: Reply | Problem, path: str, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """The outcome of a request for `path` as Litestar sends it."""
    if isinstance(outcome, Problem):
        return problem_response(outcome, path, headers)
    content = msgspec.json.encode(outcome.body)
    return Response(
        content, status_code=outcome.status, media_type=MEDIA_TYPE, headers={**outcome.headers, **(headers or {})}
    )


def moment(ms: int) -> str:
    """A moment, ms since 1970, as RFC 3339."""
    seconds, rest = divmod(ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03}Z"
