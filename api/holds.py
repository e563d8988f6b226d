"""Holds over HTTP. The functions judge a decoded request and know nothing of Litestar; the routes follow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from api.access.authentication import Caller, allow
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problems
from api.messages.refusals import refused
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import WITHOUT_CONTROLS
from api.process.resources import Resources
from engine.errors import Unavailable
from engine.holds import (
    MAX_LINES,
    MAX_QUANTITY,
    MAX_TTL_S,
    Hold,
    HoldAnswer,
    HoldStatus,
    Line,
    Reserve,
    sum_lines,
    token_of,
)
from engine.idempotency import Keyed, derive_token, fingerprint, fresh_token, generations, now_ms
from engine.orders import is_order_id
from engine.refusals import Refusal, Refused
from engine.settings import Settings
from engine.stock import Sku
from persistence import holds as stored_holds

MAX_CUSTOMER_LENGTH = 128
MAX_REFERENCE_LENGTH = 200
HOLDS_PATH = "/api/v1/holds"
REPLAYED = "replayed"

Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY, description="Units", examples=[6])]
CustomerId = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_CUSTOMER_LENGTH, pattern=WITHOUT_CONTROLS, examples=["customer-17850"]),
]
Reference = Annotated[
    str,
    Meta(
        max_length=MAX_REFERENCE_LENGTH,
        pattern=WITHOUT_CONTROLS,
        description="What it was for; the ledger shows it",
        examples=["order-536365"],
    ),
]
Ttl = Annotated[int, Meta(ge=1, le=MAX_TTL_S, description="Seconds", examples=[600])]


class HoldLine(Line, frozen=True, gc=False, forbid_unknown_fields=True):
    """Units of one SKU within a hold."""

    sku: Sku
    quantity: Quantity


class HoldRequest(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A hold to be made: all lines or none; the same SKU twice is summed. `ttl_s` defaults to the server's setting."""

    lines: Annotated[list[HoldLine], Meta(min_length=1, max_length=MAX_LINES)]
    customer_id: CustomerId | None = None
    ttl_s: Ttl | UnsetType = UNSET


class CommitRequest(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A sale's reference, if it has one; not the id of an order, of which the ledger tells what its checkout sold."""

    reference: Reference | None = None


class ExtendRequest(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The time that a hold shall live from now."""

    ttl_s: Ttl


HOLD_EXAMPLE: dict[str, Any] = {
    "id": "hold_3q2-7wEAAAAAAAAAAAAAAA",
    "status": "held",
    "lines": [{"sku": "85123A", "quantity": 6}],
    "customer_id": "customer-17850",
    "created_at": "2026-01-02T03:04:05.678Z",
    "expires_at": "2026-01-02T03:14:05.678Z",
}


class HoldView(Struct, frozen=True, gc=False):
    """A hold."""

    id: str
    status: HoldStatus
    lines: tuple[HoldLine, ...]
    customer_id: str | None
    created_at: Moment
    expires_at: Moment


NO_REFERENCE = CommitRequest()
UNKNOWN_HOLD = Refused(Refusal.UNKNOWN_HOLD)


class Claim(Struct, frozen=True, gc=False, array_like=True):
    """Units that a hold shall have, for whom and for how long."""

    lines: tuple[Line, ...]
    customer_id: str | None
    ttl_s: int

    @property
    def fingerprint(self) -> str:
        """Equal for equal claims."""
        return fingerprint(self)

    def reserve(
        self, token: str, fingerprint: str, also: tuple[str, ...] = (), group: str | None = None, position: int = 0
    ) -> Reserve:
        """The claim under a name."""
        return Reserve(token, fingerprint, self.customer_id, self.ttl_s * 1000, self.lines, also, group, position)


def view(hold: Hold) -> HoldView:
    """A hold as clients see it."""
    lines: Any = hold.lines  # they are encoded alike
    created, expires = moment(hold.created_ms), moment(hold.expires_ms)
    return HoldView(hold.id, hold.status, lines, hold.customer_id, created, expires)


# What a request comes to


async def place(resources: Resources, caller: Caller, key: str | None, body: Wanted) -> Reply | Problem:
    """Make a hold. Raises Unavailable."""
    claim = claim_of(resources.settings, body)
    if isinstance(claim, Problem):
        return claim
    if key is None:
        named = claim.reserve(fresh_token(), claim.fingerprint)
    else:
        name = derive_token(caller.client, "reserve", key)
        token, also = generations(name, now_ms(), resources.settings.retention_s)
        named = claim.reserve(token, claim.fingerprint, also)
    if caller.quota is not None:  # asked here, since to await nothing costs as well
        await caller.quota.charge_customer(body.customer_id)
    answer = await resources.shard.reserve(named)
    resources.metrics.count_hold("reserve", outcome_of(answer))
    return refused(answer) if isinstance(answer, Refused) else Reply(201, view(answer.hold), replayed=answer.replayed)


async def show(resources: Resources, hold_id: str) -> Reply | Problem:
    """A hold, from PostgreSQL once Redis let go of it. Raises Unavailable."""
    token = token_of(hold_id)
    if token is None:
        return refused(UNKNOWN_HOLD)
    hold = await resources.shard.hold(token) or await _stored(resources, token)
    return refused(UNKNOWN_HOLD) if hold is None else Reply(200, view(hold))


async def commit(
    resources: Resources, caller: Caller, key: str | None, hold_id: str, body: CommitRequest
) -> Reply | Problem:
    """Sell a hold's units. Raises Unavailable."""
    token, reference = token_of(hold_id), body.reference or ""
    if is_order_id(reference):
        return invalid("reference", "the id of an order, for which its own checkout sells")
    keyed = _keyed(caller, "commit", key, hold_id, reference)
    answer = UNKNOWN_HOLD if token is None else await resources.shard.commit(token, keyed, reference)
    return await _settled(resources, "commit", token, answer, HoldStatus.COMMITTED)


async def extend(
    resources: Resources, caller: Caller, key: str | None, hold_id: str, body: ExtendRequest
) -> Reply | Problem:
    """Give a hold more time. Raises Unavailable."""
    token = token_of(hold_id)
    keyed = _keyed(caller, "extend", key, hold_id, body.ttl_s)
    answer = UNKNOWN_HOLD if token is None else await resources.shard.extend(token, body.ttl_s, keyed)
    return await _settled(resources, "extend", token, answer, None)


async def release(resources: Resources, hold_id: str) -> Reply | Problem:
    """Give a hold's units back. Raises Unavailable."""
    token = token_of(hold_id)
    answer = UNKNOWN_HOLD if token is None else await resources.shard.release(token)
    return await _settled(resources, "release", token, answer, HoldStatus.RELEASED)


class Wanted(Protocol):
    """What a hold's request says, however it was decoded."""

    @property
    def lines(self) -> Sequence[Line]: ...
    @property
    def customer_id(self) -> str | None: ...
    @property
    def ttl_s(self) -> int | UnsetType: ...


def claim_of(settings: Settings, body: Wanted) -> Claim | Problem:
    """What a request asks of the engine, but for the name that it gets."""
    lines = sum_lines(body.lines)
    for line in lines:
        if line.quantity > MAX_QUANTITY:
            return invalid("lines", f"{line.sku} sums up to {line.quantity} units; at most {MAX_QUANTITY} can be held")
    return Claim(lines, body.customer_id, settings.default_hold_ttl_s if body.ttl_s is UNSET else body.ttl_s)


def outcome_of(answer: HoldAnswer | Refused) -> str:
    """How a reserve ended, in a word."""
    if isinstance(answer, Refused):
        return answer.refusal
    return REPLAYED if answer.replayed else "held"


def _keyed(caller: Caller, verb: str, key: str | None, hold_id: str, payload: object) -> Keyed | None:
    if key is None:
        return None
    return Keyed(derive_token(caller.client, verb, key), fingerprint((hold_id, payload)))


async def _settled(
    resources: Resources, verb: str, token: str | None, answer: HoldAnswer | Refused, wanted: HoldStatus | None
) -> Reply | Problem:
    if token is not None and answer == UNKNOWN_HOLD:
        answer = await _judge_forgotten(resources, token, wanted)
    if isinstance(answer, Refused):
        resources.metrics.count_hold(verb, answer.refusal)
        return refused(answer)
    resources.metrics.count_hold(verb, REPLAYED if answer.replayed else "done")
    return Reply(200, view(answer.hold), replayed=answer.replayed)


async def _judge_forgotten(resources: Resources, token: str, wanted: HoldStatus | None) -> HoldAnswer | Refused:
    """The same answer that Redis gave for a hold as long as it remembered it."""
    hold = await _stored(resources, token)
    if hold is None:
        return UNKNOWN_HOLD
    if hold.status is wanted:
        return HoldAnswer(hold, replayed=False)
    if hold.status is HoldStatus.EXPIRED:
        return Refused(Refusal.HOLD_EXPIRED)
    if hold.status is HoldStatus.HELD:
        raise Unavailable("the hold's state is being reconciled")
    return Refused(Refusal.HOLD_NOT_LIVE, hold_status=hold.status)


async def _stored(resources: Resources, token: str) -> Hold | None:
    return await resources.database.ask(lambda pool: stored_holds.find(pool, token))


SETTLING: Any = problems(
    *PROTECTED_CODES, "unknown-hold", "hold-not-live", "hold-expired", "body-too-large", "idempotency-key-reused"
)


class HoldRoutes(Controller):
    """Holds over HTTP."""

    path = HOLDS_PATH
    tags = ("Holds",)

    @post(
        "/",
        opt={**allow("storefront"), "idempotency": "optional"},
        summary="Reserve",
        responses=problems(
            *PROTECTED_CODES,
            "unknown-sku",
            "insufficient-stock",
            "customer-limit-exceeded",
            "body-too-large",
            "idempotency-key-reused",
        ),
    )
    async def create_hold(self, request: ApiRequest, data: JSONBody[HoldRequest]) -> Response[HoldView]:
        """Claim units for a limited time, all lines or none."""
        outcome = await place(request.resources, request.caller, request.idempotency_key, data)
        return respond(outcome, request.path)

    @get(
        "/{hold_id:str}",
        opt=allow("storefront"),
        summary="Show a hold",
        responses=problems(*PROTECTED_CODES, "unknown-hold"),
    )
    async def show_hold(self, request: ApiRequest, hold_id: FromPath[str]) -> Response[HoldView]:
        """A hold; one that ended stays readable for at least a day."""
        return respond(await show(request.resources, hold_id), request.path)

    @post(
        "/{hold_id:str}/commit",
        status_code=200,
        opt={
            **allow("storefront"),
            "idempotency": "optional",
            "body": "optional",
            "example": {"status": HoldStatus.COMMITTED},
        },
        summary="Commit: sell the units",
        responses=SETTLING,
    )
    async def commit_hold(
        self, request: ApiRequest, hold_id: FromPath[str], data: JSONBody[CommitRequest] = NO_REFERENCE
    ) -> Response[HoldView]:
        """Sell the units of a live hold. Committing a committed hold answers the same again."""
        outcome = await commit(request.resources, request.caller, request.idempotency_key, hold_id, data)
        return respond(outcome, request.path)

    @post(
        "/{hold_id:str}/extend",
        status_code=200,
        opt={**allow("storefront"), "idempotency": "optional"},
        summary="Extend",
        responses=SETTLING,
    )
    async def extend_hold(
        self, request: ApiRequest, hold_id: FromPath[str], data: JSONBody[ExtendRequest]
    ) -> Response[HoldView]:
        """Let a live hold live `ttl_s` from now: never less than it has, and its total life is capped."""
        outcome = await extend(request.resources, request.caller, request.idempotency_key, hold_id, data)
        return respond(outcome, request.path)

    @delete(
        "/{hold_id:str}",
        status_code=200,
        opt={**allow("storefront"), "example": {"status": HoldStatus.RELEASED}},
        summary="Release: give the units back",
        responses=problems(*PROTECTED_CODES, "unknown-hold", "hold-not-live", "hold-expired"),
    )
    async def release_hold(self, request: ApiRequest, hold_id: FromPath[str]) -> Response[HoldView]:
        """Give the units of a live hold back. Releasing a released hold answers the same again."""
        return respond(await release(request.resources, hold_id), request.path)
