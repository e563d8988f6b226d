"""Holds by the batch over HTTP: up to 500 in one call, each for itself."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec
from litestar import Response, Router, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from api.access.authentication import Caller, allow
from api.access.rate_limits import Quota
from api.claims import claims_of
from api.holds import HOLD_EXAMPLE, HOLDS_PATH, REPLAYED, Claim, HoldView, outcome_of, view
from api.messages.errors import PROTECTED_CODES, Problem, example_problem, problems, unavailable
from api.messages.refusals import refused
from api.messages.replies import Reply, respond
from api.messages.requests import ApiRequest
from api.process.resources import Resources
from engine.errors import Unavailable
from engine.holds import MAX_BATCH_HOLDS, HoldAnswer, Reserve
from engine.idempotency import derive_token, fingerprint, fresh_token, generations, now_ms
from engine.refusals import Refusal, Refused
from engine.settings import Settings

PATH = f"{HOLDS_PATH}/batch"


class BatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Holds to be made, each for itself."""

    # Raw, so that each is decoded, and refused, for itself.
    holds: Annotated[
        list[Annotated[msgspec.Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/HoldRequest"})]],
        Meta(min_length=1, max_length=MAX_BATCH_HOLDS),
    ]


class BatchItem(Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one hold of a batch: `hold` with status 201, otherwise `problem`."""

    status: Annotated[int, Meta(description="The status that this hold alone would have been answered", examples=[201])]
    hold: HoldView | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


SHORT_EXAMPLE = {"status": 409, "problem": example_problem("insufficient-stock")}


class BatchResults(Struct, frozen=True):
    """One item a hold asked for, in the same order."""

    results: Annotated[list[BatchItem], Meta(examples=[[{"status": 201, "hold": HOLD_EXAMPLE}, SHORT_EXAMPLE]])]


async def place(resources: Resources, caller: Caller, key: str | None, body: BatchRequest) -> Reply | Problem:
    """Make holds, each for itself: the bad and the refused leave the others as they are. Raises Unavailable."""
    claims = claims_of(resources.settings, body.holds)
    if caller.quota is not None:
        claims = await _within_limits(caller.quota, claims, is_keyed=key is not None)
    requests = _named(resources.settings, caller, key, body, claims)
    answers = await resources.shard.reserve_group(requests) if requests else []
    outcomes = Counter([outcome_of(answer) for answer in answers if not isinstance(answer, Unavailable)])
    if Refusal.KEY_REUSED in outcomes:
        return refused(Refused(Refusal.KEY_REUSED))
    for outcome, times in outcomes.items():
        resources.metrics.count_hold("reserve", outcome, times)
    following = iter(answers)
    ends = [next(following) if isinstance(claim, Claim) else claim for claim in claims]
    results = [
        BatchItem(201, view(end.hold)) if isinstance(end, HoldAnswer) else _not_held(index, end)
        for index, end in enumerate(ends)
    ]
    return Reply(200, BatchResults(results), replayed=REPLAYED in outcomes)


async def _within_limits(quota: Quota, claims: list[Claim | Problem], *, is_keyed: bool) -> list[Claim | Problem]:
    """The claims, with a problem in place of each whose customer asks too often.

    A call with a key is one thing, remembered as such, so it is let through or refused as one. Raises ProblemRaised.
    """
    customers = [claim.customer_id if isinstance(claim, Claim) else None for claim in claims]
    if is_keyed:
        await quota.charge_together(customers)
        return claims
    refusals = await quota.charge_each(customers)
    return [refusal or claim for refusal, claim in zip(refusals, claims, strict=True)]


def _named(
    settings: Settings, caller: Caller, key: str | None, body: BatchRequest, claims: list[Claim | Problem]
) -> list[Reserve]:
    """The well-formed claims under their names.

    With a key, a hold's name tells its place in the whole call, and all share the call's fingerprint; a place in the
    group counts the well-formed ones only.
    """
    if key is None:
        return [claim.reserve(fresh_token(), claim.fingerprint) for claim in claims if isinstance(claim, Claim)]
    group = derive_token(caller.client, "reserve-batch", key)
    period, others = generations("", now_ms(), settings.retention_s)
    whole = fingerprint(
        [
            claim if isinstance(claim, Claim) else bytes(raw).decode("latin-1")
            for claim, raw in zip(claims, body.holds, strict=True)
        ]
    )
    well_formed = [(f"{group}_{place}", claim) for place, claim in enumerate(claims, 1) if isinstance(claim, Claim)]
    return [
        claim.reserve(name + period, whole, tuple([name + other for other in others]), group, position)
        for position, (name, claim) in enumerate(well_formed, 1)
    ]


def _not_held(index: int, outcome: Refused | Unavailable | Problem) -> BatchItem:
    problem = _problem(outcome)
    located = msgspec.structs.replace(problem, instance=f"{PATH}#/holds/{index}")
    return BatchItem(problem.status, problem=located)


def _problem(outcome: Refused | Unavailable | Problem) -> Problem:
    if isinstance(outcome, Refused):
        return refused(outcome)
    return unavailable(outcome).problem if isinstance(outcome, Unavailable) else outcome


@post(
    "/",
    status_code=200,
    opt={**allow("storefront"), "idempotency": "optional", "body": "batch"},
    summary="Reserve many",
    responses=problems(*PROTECTED_CODES, "body-too-large", "idempotency-key-reused"),
)
async def create_holds(request: ApiRequest, data: JSONBody[BatchRequest]) -> Response[BatchResults]:
    """Make up to 500 holds, each for itself; one answer a hold, in the same order."""
    outcome = await place(request.resources, request.caller, request.idempotency_key, data)
    return respond(outcome, request.path)


router = Router(PATH, route_handlers=[create_holds], tags=["Holds"])
