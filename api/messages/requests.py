"""The request as this API's routes see it: Litestar's, with the caller, bounded bodies and what the process holds."""

from __future__ import annotations

from typing import cast

from litestar import Request
from litestar.datastructures import State

from api.access.authentication import Caller
from api.messages.bodies import check_content_type
from api.messages.body_limits import read_body
from api.messages.idempotency import idempotency_key, require
from api.process.resources import Resources


class ApiRequest(Request[Caller, None, State]):
    """One request."""

    __slots__ = ()

    @property
    def resources(self) -> Resources:
        return cast("Resources", self.app.state.resources)

    @property
    def caller(self) -> Caller:
        """Who asks, on every route that is not open."""
        return cast("Caller", self.scope["user"])

    @property
    def path(self) -> str:
        return self.scope["path"]

    @property
    def idempotency_key(self) -> str | None:
        """The key, if one was sent. Raises ProblemRaised for one that cannot be used."""
        return idempotency_key(self.scope["headers"])

    def require_idempotency_key(self) -> str:
        """The key. Raises ProblemRaised, too, when none was sent."""
        return require(self.idempotency_key)

    async def body(self) -> bytes:
        """The body, checked to be JSON and within its limit. Raises ProblemRaised."""
        settings = self.resources.settings
        is_batch = self.route_handler.opt.get("body") == "batch"
        limit_bytes = settings.batch_body_limit_bytes if is_batch else settings.body_limit_bytes
        body = await read_body(self.scope["headers"], self.receive, limit_bytes)
        if body:
            check_content_type(self.scope["headers"])
        return body
