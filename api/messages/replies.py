"""Replies: what a noun answers, before it becomes bytes; the same values whichever way the request came in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from litestar import Response
from msgspec import Meta, Struct

from api.messages.errors import Problem, problem_response

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


class Reply(Struct, frozen=True, gc=False):
    """A request that was granted: status and body; `replayed` when its idempotency key had been answered before.

    `etag` names the state of a thing that can be changed under If-Match.
    """

    status: int
    body: Struct | msgspec.Raw | None
    replayed: bool = False
    etag: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        headers = {REPLAYED_HEADER: "true"} if self.replayed else {}
        return headers if self.etag is None else {**headers, "ETag": self.etag}

    def encode(self) -> bytes:
        """The body's bytes; none for an answer without a body."""
        return b"" if self.body is None else msgspec.json.encode(self.body)


def respond(outcome: Reply | Problem, path: str, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """The outcome of a request for `path` as Litestar sends it."""
    if isinstance(outcome, Problem):
        return problem_response(outcome, path, headers)
    return Response(
        outcome.encode(),
        status_code=outcome.status,
        media_type=MEDIA_TYPE,
        headers={**outcome.headers, **(headers or {})},
    )


@lru_cache(maxsize=1_024)
def moment(ms: int) -> str:
    """A moment, ms since 1970, as RFC 3339. Cached, since the holds of a batch are made and end at the same two."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=4_096)
def _second(seconds: int) -> str:
    """Cached, since the answers of a while name the same few."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
