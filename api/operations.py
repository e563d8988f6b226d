"""Operations over HTTP: is the process alive, may it get traffic, and what does it count."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Response, Router, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Meta, Struct

from api.access.authentication import allow
from api.messages.replies import Reply, respond
from api.messages.requests import ApiRequest
from api.process.health import Readiness
from api.process.metrics import CONTENT_TYPE

NO_STORE = {"Cache-Control": "no-store"}


class Liveness(Struct, frozen=True):
    """The process runs."""

    status: Annotated[Literal["alive"], Meta(examples=["alive"])] = "alive"


@get("/livez", opt=allow("open"), summary="Is the process alive?")
async def livez(request: ApiRequest) -> Response[Liveness]:
    """200 as long as the process runs, whatever else is down."""
    return respond(Reply(200, Liveness()), request.path, NO_STORE)


@get(
    "/readyz",
    opt=allow("open"),
    summary="May it get traffic?",
    responses={503: ResponseSpec(Readiness, description="Not ready; `detail` says why", generate_examples=False)},
)
async def readyz(request: ApiRequest) -> Response[Readiness]:
    """200 when holds are served, 503 when not, with the state of Redis, PostgreSQL, the fence and the backlog.

    PostgreSQL alone being away is 200 with `degraded`: holds are served all the same until the backlog is full.
    """
    readiness = request.resources.health.readiness()
    status = 503 if readiness.status == "not-ready" else 200
    return respond(Reply(status, readiness), request.path, NO_STORE)


@get("/metrics", opt=allow("open"), summary="Prometheus metrics", media_type="text/plain")
async def metrics(request: ApiRequest) -> Response[str]:
    """Everything that this process counts, in Prometheus' text format."""
    resources = request.resources
    resources.metrics.backlog.set(resources.shard.waiting)
    return Response(resources.metrics.render().decode(), media_type=CONTENT_TYPE, headers=NO_STORE)


router = Router("/", route_handlers=[livez, readyz, metrics], tags=["Operations"])
