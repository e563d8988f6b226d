"""Pricing rules over HTTP. The functions judge; the routes follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct
from msgspec.structs import replace

from api.access.authentication import Caller, allow
from api.catalogue import Change, keyed_change, page
from api.categories import MAX_ID_LENGTH, CategoryId
from api.holds import Quantity
from api.messages.body_limits import RawHeaders
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problem, problems
from api.messages.pages import DEFAULT_LIMIT, Cursor, Limit
from api.messages.preconditions import etag_of, unmet
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import VISIBLE
from api.messages.windows import Instant, judge_window, ms_if_given
from api.process.resources import Resources
from api.variants import ProductId, VariantId
from engine.catalogue import MAX_NAME_LENGTH, MAX_PRICE_MINOR, Catalogue
from engine.idempotency import fresh_token
from engine.pricing import RULE_PREFIX, Kind, Rule, Stacking
from persistence import pricing_rules as stored
from persistence.catalogue import note_deletion

MAX_PRIORITY = 1_000_000
MAX_WORD_LENGTH = 64

RuleName = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, pattern=VISIBLE, examples=["Bulk, 5 and more"])
]
Priority = Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Lower comes first", examples=[0])]
Word = Annotated[str, Meta(min_length=1, max_length=MAX_WORD_LENGTH, pattern=VISIBLE)]
Tier = Annotated[Word, Meta(description="In any case of letters", examples=["GOLD"])]
PromoCode = Annotated[Word, Meta(description="In any case of letters", examples=["SPRING"])]
Money = Annotated[int, Meta(ge=0, le=MAX_PRICE_MINOR, description="In minor units", examples=[1990])]
Amount = Annotated[int, Meta(ge=1, le=MAX_PRICE_MINOR, description="Off a unit, in minor units", examples=[500])]
Percent = Annotated[int, Meta(ge=1, le=100, description="Off a unit", examples=[10])]

EFFECTS = ("percent", "amount", "price", "buy_quantity", "get_quantity")
EFFECTS_OF = {"sale_price": ("price",), "buy_x_get_y": ("buy_quantity", "get_quantity")}


class RuleRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule: all conditions that are given must hold, and it has the one effect of its kind.

    Every condition is optional for every kind: a `promo` without `promo_code` is for everybody. `bulk`, `tier`, `promo`
    and `seasonal` take `percent` or `amount` off a unit, `sale_price` needs `price`, `buy_x_get_y` both quantities.
    """

    name: RuleName
    kind: Kind
    priority: Priority = 0
    active: bool = True
    stacking: Stacking = "additive"
    min_quantity: Quantity | None = None
    user_tier: Tier | None = None
    promo_code: PromoCode | None = None
    product_id: ProductId | None = None
    variant_id: VariantId | None = None
    category_id: CategoryId | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    percent: Percent | None = None
    amount: Amount | None = None
    price: Money | None = None
    buy_quantity: Quantity | None = None
    get_quantity: Quantity | None = None


RULE_EXAMPLE: dict[str, Any] = {
    "name": "Bulk, 5 and more",
    "kind": "bulk",
    "min_quantity": 5,
    "percent": 10,
    "priority": 0,
    "active": True,
    "stacking": "additive",
}


class RuleView(Struct, frozen=True, kw_only=True):
    """A pricing rule."""

    id: Annotated[str, Meta(examples=["rule_3q2-7wEAAAAAAAAAAAAAAA"])]
    name: RuleName
    kind: Kind
    priority: Priority
    active: bool
    stacking: Stacking
    min_quantity: Quantity | None
    user_tier: Tier | None
    promo_code: PromoCode | None
    product_id: Annotated[str | None, Meta(examples=[None])]
    variant_id: Annotated[str | None, Meta(examples=[None])]
    category_id: Annotated[str | None, Meta(examples=[None])]
    starts_at: Moment | None
    ends_at: Moment | None
    percent: Percent | None
    amount: Amount | None
    price: Money | None
    buy_quantity: Quantity | None
    get_quantity: Quantity | None
    created_at: Moment
    updated_at: Moment


class RulePage(Struct, frozen=True):
    """Some pricing rules, in order of creation."""

    items: list[RuleView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


def view(rule: Rule) -> RuleView:
    """A rule as clients see it."""
    shared = {name: getattr(rule, name) for name in RuleView.__struct_fields__ if name in Rule.__struct_fields__}
    return RuleView(
        **shared,
        starts_at=None if rule.starts_ms is None else moment(rule.starts_ms),
        ends_at=None if rule.ends_ms is None else moment(rule.ends_ms),
        created_at=moment(rule.created_ms),
        updated_at=moment(rule.updated_ms),
    )


# What a request comes to


async def show_page(resources: Resources, limit: int, cursor: str | None) -> Reply | Problem:
    """A page of all rules. Raises Unavailable, and ProblemRaised for a bad cursor."""
    found, following = page((await resources.catalogue.current()).rules, limit, cursor)
    return Reply(200, RulePage([view(rule) for rule in found], following))


async def show(resources: Resources, rule_id: str) -> Reply | Problem:
    """One rule. Raises Unavailable."""
    rule = (await resources.catalogue.current()).rule(rule_id)
    return unknown_rule(rule_id) if rule is None else _reply(200, rule)


async def create(resources: Resources, caller: Caller, key: str | None, body: RuleRequest) -> Reply | Problem:
    """Make a rule. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        refusal = _judge(change.catalogue, body)
        if refusal is not None:
            return refusal
        wanted = Rule(id=RULE_PREFIX + fresh_token(), **_fields(body), version=change.version)
        return _reply(201, await stored.insert(change.connection, wanted))

    return await resources.catalogue.change(work, keyed_change(caller, "create-pricing-rule", key, body))


async def update(resources: Resources, headers: RawHeaders, rule_id: str, body: RuleRequest) -> Reply | Problem:
    """Replace a rule. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        rule = change.catalogue.rule(rule_id)
        if rule is None:
            return unknown_rule(rule_id)
        refusal = unmet(headers, rule.version) or _judge(change.catalogue, body, rule)
        if refusal is not None:
            return refusal
        wanted = replace(rule, **_fields(body), version=change.version)
        return _reply(200, await stored.update(change.connection, wanted))

    return await resources.catalogue.change(work)


async def remove(resources: Resources, headers: RawHeaders, rule_id: str) -> Reply | Problem:
    """Delete a rule; prices that were given under it stay. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        rule = change.catalogue.rule(rule_id)
        if rule is None:
            return unknown_rule(rule_id)
        refusal = unmet(headers, rule.version)
        if refusal is not None:
            return refusal
        await stored.delete(change.connection, rule_id)
        await note_deletion(change.connection, rule_id, change.version)
        return Reply(204, None)

    return await resources.catalogue.change(work)


def unknown_rule(rule_id: str) -> Problem:
    return problem("unknown-rule", f"There is no pricing rule {rule_id[:MAX_ID_LENGTH]}.")


def _judge(catalogue: Catalogue, body: RuleRequest, before: Rule | None = None) -> Problem | None:
    """Why there cannot be such a rule, or it cannot become such a one; what it is for may be gone, and stays."""
    window = judge_window("starts_at", body.starts_at, "ends_at", body.ends_at)
    return window or _judge_effect(body) or _judge_subject(catalogue, body, before)


def _judge_effect(body: RuleRequest) -> Problem | None:
    given = [name for name in EFFECTS if getattr(body, name) is not None]
    wanted = EFFECTS_OF.get(body.kind)
    if wanted is None:
        foreign = next((name for name in given if name not in ("percent", "amount")), None)
        if foreign is not None:
            return invalid(foreign, f"a rule of kind {body.kind} takes percent or amount")
        return None if len(given) == 1 else invalid("percent", "give either percent or amount")
    missing = next((name for name in wanted if name not in given), None)
    if missing is not None:
        return invalid(missing, f"a rule of kind {body.kind} needs it")
    foreign = next((name for name in given if name not in wanted), None)
    return None if foreign is None else invalid(foreign, f"a rule of kind {body.kind} takes {' and '.join(wanted)}")


def _judge_subject(catalogue: Catalogue, body: RuleRequest, before: Rule | None) -> Problem | None:
    finders: dict[str, Callable[[str], object]] = {
        "product": catalogue.product,
        "variant": catalogue.variant,
        "category": catalogue.category,
    }
    for noun, find in finders.items():
        field = f"{noun}_id"
        wanted = getattr(body, field)
        if wanted is not None and wanted != getattr(before, field, None) and find(wanted) is None:
            return invalid(field, f"there is no such {noun}")
    return None


def _fields(body: RuleRequest) -> dict[str, Any]:
    fields = {name: getattr(body, name) for name in RuleRequest.__struct_fields__ if name in Rule.__struct_fields__}
    return {
        **fields,
        "starts_ms": ms_if_given(body.starts_at),
        "ends_ms": ms_if_given(body.ends_at),
    }


def _reply(status: int, rule: Rule) -> Reply:
    return Reply(status, view(rule), etag=etag_of(rule.version))


class PricingRuleRoutes(Controller):
    """Pricing rules over HTTP."""

    path = "/api/v1/pricing-rules"
    tags = ("Prices",)

    @get("/", opt=allow("operator"), summary="List pricing rules", responses=problems(*PROTECTED_CODES))
    async def list_rules(
        self, request: ApiRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response[RulePage]:
        """Every rule, in order of creation, a page at a time."""
        return respond(await show_page(request.resources, limit, cursor), request.path)

    @get(
        "/{rule_id:str}",
        opt={**allow("operator"), "etag": True},
        summary="Show a pricing rule",
        responses=problems(*PROTECTED_CODES, "unknown-rule"),
    )
    async def show_rule(self, request: ApiRequest, rule_id: FromPath[str]) -> Response[RuleView]:
        """One rule."""
        return respond(await show(request.resources, rule_id), request.path)

    @post(
        "/",
        status_code=201,
        opt={**allow("operator"), "idempotency": "optional", "etag": True},
        summary="Create a pricing rule",
        responses=problems(*PROTECTED_CODES, "body-too-large", "idempotency-key-reused"),
    )
    async def create_rule(self, request: ApiRequest, data: JSONBody[RuleRequest]) -> Response[RuleView]:
        """Make a rule; every API process applies it within a second."""
        return respond(await create(request.resources, request.caller, request.idempotency_key, data), request.path)

    @put(
        "/{rule_id:str}",
        opt={**allow("operator"), "etag": True, "if_match": True},
        summary="Replace a pricing rule",
        responses=problems(*PROTECTED_CODES, "unknown-rule", "precondition-failed", "body-too-large"),
    )
    async def replace_rule(
        self, request: ApiRequest, rule_id: FromPath[str], data: JSONBody[RuleRequest]
    ) -> Response[RuleView]:
        """Replace a rule; prices that were given under the old one stay."""
        outcome = await update(request.resources, request.scope["headers"], rule_id, data)
        return respond(outcome, request.path)

    @delete(
        "/{rule_id:str}",
        status_code=204,
        opt={**allow("operator"), "if_match": True},
        summary="Delete a pricing rule",
        responses=problems(*PROTECTED_CODES, "unknown-rule", "precondition-failed"),
    )
    async def delete_rule(self, request: ApiRequest, rule_id: FromPath[str]) -> Response[None]:
        """Delete a rule; prices that were given under it stay."""
        return respond(await remove(request.resources, request.scope["headers"], rule_id), request.path)
