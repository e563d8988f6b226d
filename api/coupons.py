"""Coupons over HTTP. The functions judge; the routes follow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct
from msgspec.structs import replace

from api.access.authentication import Caller, allow
from api.catalogue import Change, keyed_change, page
from api.messages.body_limits import RawHeaders
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problem, problems
from api.messages.pages import DEFAULT_LIMIT, Cursor, Limit
from api.messages.preconditions import etag_of, unmet
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import WORD
from api.messages.windows import Instant, judge_window, ms_if_given
from api.pricing_rules import Money
from api.process.resources import Resources
from api.variants import ProductId
from engine.catalogue import MAX_PRICE_MINOR, Catalogue
from engine.coupons import (
    COUPON_PREFIX,
    MAX_APPLICABLE_PRODUCTS,
    MAX_CODE_LENGTH,
    MAX_USES,
    WHOLE_PERCENT,
    Coupon,
    CouponKind,
    code_key,
)
from engine.idempotency import fresh_token
from engine.shard import Shard
from persistence import coupons as stored
from persistence.catalogue import note_deletion

CouponCode = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_CODE_LENGTH,
        pattern=WORD,
        description="1 to 64 letters, digits, `_` and `-`; unique, and typed in any case of letters",
        examples=["WELCOME10"],
    ),
]
Value = Annotated[
    int,
    Meta(
        ge=1,
        le=MAX_PRICE_MINOR,
        description="Percent, 1 to 100, of a `percentage`; minor units of a `fixed_amount`",
        examples=[10],
    ),
]
MinOrderValue = Annotated[Money, Meta(description="What all lines must sum to, in minor units", examples=[3000])]
UsageLimit = Annotated[int, Meta(ge=1, le=MAX_USES, description="Orders that may use it", examples=[100])]
PerCustomerLimit = Annotated[int, Meta(ge=1, le=MAX_USES, description="Orders of one customer", examples=[1])]
ApplicableProducts = Annotated[
    list[ProductId],
    Meta(min_length=1, max_length=MAX_APPLICABLE_PRODUCTS, description="Ids of products; null for every product"),
]


class CouponRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A coupon; a limit that is not given is none. It is valid from `valid_from` on, and before `valid_until`."""

    code: CouponCode
    kind: CouponKind
    value: Value
    min_order_value: MinOrderValue | None = None
    usage_limit: UsageLimit | None = None
    per_customer_limit: PerCustomerLimit | None = None
    applicable_products: ApplicableProducts | None = None
    valid_from: Instant | None = None
    valid_until: Instant | None = None


COUPON_EXAMPLE: dict[str, Any] = {
    "code": "WELCOME10",
    "kind": "percentage",
    "value": 10,
    "min_order_value": 3000,
    "usage_limit": 100,
    "per_customer_limit": 1,
}


class CouponView(Struct, frozen=True, kw_only=True):
    """A coupon, and how many orders it is counted for now."""

    code: CouponCode
    kind: Annotated[CouponKind, Meta(examples=["percentage"])]
    value: Value
    min_order_value: MinOrderValue | None
    usage_limit: UsageLimit | None
    per_customer_limit: PerCustomerLimit | None
    applicable_products: Annotated[tuple[str, ...] | None, Meta(examples=[None])]
    valid_from: Annotated[Moment | None, Meta(examples=[None])]
    valid_until: Annotated[Moment | None, Meta(examples=[None])]
    times_used: Annotated[int, Meta(ge=0, description="Orders that were neither canceled nor unpaid", examples=[7])]
    created_at: Moment
    updated_at: Moment


class CouponPage(Struct, frozen=True):
    """Some coupons, in order of creation."""

    items: list[CouponView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


def view(coupon: Coupon, times_used: int) -> CouponView:
    """A coupon as clients see it."""
    shared = {name: getattr(coupon, name) for name in CouponView.__struct_fields__ if name in Coupon.__struct_fields__}
    return CouponView(
        **shared,
        valid_from=None if coupon.starts_ms is None else moment(coupon.starts_ms),
        valid_until=None if coupon.ends_ms is None else moment(coupon.ends_ms),
        times_used=times_used,
        created_at=moment(coupon.created_ms),
        updated_at=moment(coupon.updated_ms),
    )


async def views(shard: Shard, coupons: Sequence[Coupon]) -> list[CouponView]:
    """Coupons with their uses, all read at one moment. Raises Unavailable."""
    uses = await shard.coupon_uses([coupon.id for coupon in coupons])
    return [view(coupon, uses[coupon.id]) for coupon in coupons]


# What a request comes to


async def show_page(resources: Resources, limit: int, cursor: str | None) -> Reply | Problem:
    """A page of all coupons. Raises Unavailable, and ProblemRaised for a bad cursor."""
    found, following = page((await resources.catalogue.current()).coupons, limit, cursor)
    return Reply(200, CouponPage(await views(resources.shard, found), following))


async def show(resources: Resources, code: str) -> Reply | Problem:
    """One coupon. Raises Unavailable."""
    coupon = (await resources.catalogue.current()).coupon(code)
    return unknown_coupon(code) if coupon is None else await _reply(resources.shard, 200, coupon)


async def create(resources: Resources, caller: Caller, key: str | None, body: CouponRequest) -> Reply | Problem:
    """Make a coupon that was never used. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        refusal = _judge(change.catalogue, body)
        if refusal is not None:
            return refusal
        if change.catalogue.coupon(body.code) is not None:
            return problem("coupon-exists", f"Another coupon has the code {body.code}.")
        wanted = Coupon(id=COUPON_PREFIX + fresh_token(), **_fields(body), version=change.version)
        made = await stored.insert(change.connection, wanted)
        return Reply(201, view(made, 0), etag=etag_of(made.version))

    return await resources.catalogue.change(work, keyed_change(caller, "create-coupon", key, body))


async def update(resources: Resources, headers: RawHeaders, code: str, body: CouponRequest) -> Reply | Problem:
    """Replace a coupon; its uses go on being counted. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        coupon = change.catalogue.coupon(code)
        if coupon is None:
            return unknown_coupon(code)
        refusal = unmet(headers, coupon.version)
        if refusal is None and code_key(body.code) != code_key(coupon.code):
            refusal = invalid("code", "the code of a coupon cannot change, only its case of letters")
        refusal = refusal or _judge(change.catalogue, body, coupon.applicable_products or ())
        if refusal is not None:
            return refusal
        wanted = replace(coupon, **_fields(body), version=change.version)
        return await _reply(resources.shard, 200, await stored.update(change.connection, wanted))

    return await resources.catalogue.change(work)


async def remove(resources: Resources, headers: RawHeaders, code: str) -> Reply | Problem:
    """Delete a coupon; the orders that used it stay as they are. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        coupon = change.catalogue.coupon(code)
        if coupon is None:
            return unknown_coupon(code)
        refusal = unmet(headers, coupon.version)
        if refusal is not None:
            return refusal
        await stored.delete(change.connection, coupon.id)
        await note_deletion(change.connection, coupon.id, change.version)
        return Reply(204, None)

    return await resources.catalogue.change(work)


def unknown_coupon(code: str) -> Problem:
    return problem("unknown-coupon", f"There is no coupon {code[:MAX_CODE_LENGTH]}.")


def _judge(catalogue: Catalogue, body: CouponRequest, before: Collection[str] = ()) -> Problem | None:
    """Why there cannot be such a coupon; products that it was for `before` may be gone, and stay."""
    if body.kind == "percentage" and body.value > WHOLE_PERCENT:
        return invalid("value", f"a percentage is at most {WHOLE_PERCENT}")
    for index, product_id in enumerate(body.applicable_products or ()):
        if product_id not in before and catalogue.product(product_id) is None:
            return invalid(f"applicable_products[{index}]", "there is no such product")
    return judge_window("valid_from", body.valid_from, "valid_until", body.valid_until)


def _fields(body: CouponRequest) -> dict[str, Any]:
    fields = {name: getattr(body, name) for name in CouponRequest.__struct_fields__ if name in Coupon.__struct_fields__}
    products = body.applicable_products
    return {
        **fields,
        "applicable_products": None if products is None else tuple(dict.fromkeys(products)),
        "starts_ms": ms_if_given(body.valid_from),
        "ends_ms": ms_if_given(body.valid_until),
    }


async def _reply(shard: Shard, status: int, coupon: Coupon) -> Reply:
    (seen,) = await views(shard, [coupon])
    return Reply(status, seen, etag=etag_of(coupon.version))


class CouponRoutes(Controller):
    """Coupons over HTTP."""

    path = "/api/v1/coupons"
    tags = ("Coupons",)

    @get("/", opt=allow("operator"), summary="List coupons", responses=problems(*PROTECTED_CODES))
    async def list_coupons(
        self, request: ApiRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response[CouponPage]:
        """Every coupon, in order of creation, a page at a time."""
        return respond(await show_page(request.resources, limit, cursor), request.path)

    @get(
        "/{coupon_code:str}",
        opt={**allow("operator"), "etag": True},
        summary="Show a coupon",
        responses=problems(*PROTECTED_CODES, "unknown-coupon"),
    )
    async def show_coupon(self, request: ApiRequest, coupon_code: FromPath[str]) -> Response[CouponView]:
        """One coupon, and how often it is used."""
        return respond(await show(request.resources, coupon_code), request.path)

    @post(
        "/",
        status_code=201,
        opt={**allow("operator"), "idempotency": "optional", "etag": True},
        summary="Create a coupon",
        responses=problems(*PROTECTED_CODES, "coupon-exists", "body-too-large", "idempotency-key-reused"),
    )
    async def create_coupon(self, request: ApiRequest, data: JSONBody[CouponRequest]) -> Response[CouponView]:
        """Make a coupon; every API process takes it within a second. A code that was deleted begins at no uses."""
        return respond(await create(request.resources, request.caller, request.idempotency_key, data), request.path)

    @put(
        "/{coupon_code:str}",
        opt={**allow("operator"), "etag": True, "if_match": True},
        summary="Replace a coupon",
        responses=problems(*PROTECTED_CODES, "unknown-coupon", "precondition-failed", "body-too-large"),
    )
    async def replace_coupon(
        self, request: ApiRequest, coupon_code: FromPath[str], data: JSONBody[CouponRequest]
    ) -> Response[CouponView]:
        """Replace a coupon but for its code; its uses go on being counted, against the new limits."""
        outcome = await update(request.resources, request.scope["headers"], coupon_code, data)
        return respond(outcome, request.path)

    @delete(
        "/{coupon_code:str}",
        status_code=204,
        opt={**allow("operator"), "if_match": True},
        summary="Delete a coupon",
        responses=problems(*PROTECTED_CODES, "unknown-coupon", "precondition-failed"),
    )
    async def delete_coupon(self, request: ApiRequest, coupon_code: FromPath[str]) -> Response[None]:
        """Delete a coupon; orders that used it stay as they are."""
        return respond(await remove(request.resources, request.scope["headers"], coupon_code), request.path)
