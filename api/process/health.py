"""Health: what this process last saw of the components it needs, and whether it may be sent traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from api.messages.errors import public_reason
from engine.fence import Fence
from engine.reader import Backlog
from engine.settings import Settings

Status = Literal["ready", "degraded", "not-ready"]


class Component(Struct, frozen=True, kw_only=True):
    """One component's state."""

    status: Annotated[Literal["up", "down"], Meta(examples=["up"])]
    detail: Annotated[str | None, Meta(description="Why it is down", examples=[None])] = None


class BacklogState(Struct, frozen=True, kw_only=True):
    """How far PostgreSQL is behind Redis; `down` from the high-water mark on."""

    status: Annotated[Literal["up", "down"], Meta(examples=["up"])]
    detail: Annotated[str | None, Meta(description="Why it is down", examples=[None])] = None
    events: Annotated[int | None, Meta(description="Events not yet applied", examples=[12])]
    lag_s: Annotated[float | None, Meta(description="Age of the oldest of them", examples=[0.4])]
    high_water_events: Annotated[int, Meta(examples=[1_000_000])]


class Components(Struct, frozen=True):
    """Everything that an answer may depend on."""

    redis: Component
    postgresql: Component
    fence: Component
    backlog: BacklogState


class Readiness(Struct, frozen=True, kw_only=True):
    """`ready`; `degraded`: PostgreSQL is away, holds are served all the same; `not-ready`: send no traffic."""

    status: Annotated[Status, Meta(examples=["ready"])]
    detail: Annotated[str | None, Meta(description="Why not", examples=[None])] = None
    components: Components


UNSEEN = Component(status="down", detail="not seen yet")
UP = Component(status="up")


class Health:
    """Written by the guard and the probe, read by readyz and the metrics."""

    def __init__(self, settings: Settings, fence: Fence) -> None:
        self._settings = settings
        self._fence = fence
        self.is_draining = False
        self.redis = UNSEEN
        self.postgresql = UNSEEN
        self.backlog: Backlog | None = None

    def readiness(self) -> Readiness:
        """Judge by the newest observations; the fence's state is always that of this moment."""
        components = Components(self.redis, self.postgresql, self._fence_state(), self._backlog_state())
        status: Status = "ready"
        detail = None
        if self.is_draining:
            status, detail = "not-ready", "shutting down"
        else:
            needed = (components.redis, components.fence, components.backlog)
            detail = next((state.detail for state in needed if state.status == "down"), None)
            if detail is not None:
                status = "not-ready"
            elif components.postgresql.status == "down":
                status, detail = "degraded", components.postgresql.detail
        return Readiness(status=status, detail=detail, components=components)

    def _fence_state(self) -> Component:
        if self._fence.is_open:
            return UP
        return Component(status="down", detail=public_reason(self._fence.reason))

    def _backlog_state(self) -> BacklogState:
        limit, seen = self._settings.high_water_events, self.backlog
        if seen is None:
            return BacklogState(status="down", detail="not seen yet", events=None, lag_s=None, high_water_events=limit)
        is_over = seen.events >= limit
        return BacklogState(
            status="down" if is_over else "up",
            detail="PostgreSQL is too far behind" if is_over else None,
            events=seen.events,
            lag_s=round(seen.lag_s, 3),
            high_water_events=limit,
        )
