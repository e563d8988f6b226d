"""What the peers behind Litestar share: a plain typed handler for POST /api/v1/holds, and nothing to slow it down."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

from litestar import Litestar, Response, post
from litestar.params import Body
from msgspec import Struct

from benchmarks.peers.bodies import HoldAnswer, HoldBody


class Hold(Struct, frozen=True):
    """A hold that is about to be made."""

    id: str
    body: HoldBody
    created_at: datetime
    expires_at: datetime


class Store(Protocol):
    """Where a peer keeps stock and holds."""

    async def take(self, hold: Hold) -> bool:
        """Make the hold, all lines or none; False where there are too few units."""


OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


def make_app(open_store: OpenStore) -> Litestar:
    """The application around a store, which is open as long as it runs."""
    opened: list[Store] = []

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with open_store() as store:
            opened.append(store)
            yield

    @post("/api/v1/holds")
    async def place(data: Annotated[HoldBody, Body()]) -> Response[HoldAnswer | None]:
        now = datetime.now(UTC)
        hold = Hold(f"hold_{secrets.token_urlsafe(16)}", data, now, now + timedelta(seconds=data.ttl_s))
        if not await opened[0].take(hold):
            return Response(None, status_code=409)
        answer = HoldAnswer(hold.id, "held", data.lines, data.customer_id, now.isoformat(), hold.expires_at.isoformat())
        return Response(answer, status_code=201)

    return Litestar([place], lifespan=[lifespan], openapi_config=None, logging_config=None)
