"""Stock over HTTP: counts, adjustments and the ledger. The functions judge a decoded request; the routes follow."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, Response, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from api.access.authentication import Caller, allow
from api.holds import Reference
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problems
from api.messages.pages import DEFAULT_LIMIT, Cursor, Limit, bad_cursor, decode_cursor, encode_cursor
from api.messages.refusals import refused
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import RULES, WITHOUT_CONTROLS
from api.process.resources import Resources
from engine.idempotency import derive_token, fingerprint, fresh_token
from engine.refusals import Refusal, Refused
from engine.stock import MAX_COUNT, MAX_SKU_LENGTH, SKU_PATTERN, Adjust, Sku, StockLevel
from persistence import stock as stored_stock
from persistence.stock import LedgerRow

MAX_REASON_LENGTH = 200
MAX_POSITION = 1 << 62
CREATED = "created"

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT, description="Units")]
Units = Annotated[int, Meta(ge=0, description="Units, of which several counts may make more than one may be told")]
CustomerLimit = Annotated[
    int, Meta(ge=1, le=MAX_COUNT, description="Units that one customer may hold and buy, together", examples=[4])
]


class StockRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A SKU's first count."""

    on_hand: Annotated[Count, Meta(examples=[100])]
    customer_limit: CustomerLimit | None = None


class AdjustmentRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Units received (`delta` above 0) or written off (below)."""

    delta: Annotated[
        int,
        Meta(
            ge=-MAX_COUNT,
            le=MAX_COUNT,
            description="Units to add; never 0",
            examples=[24],
            extra_json_schema={"not": {"const": 0}},
        ),
    ]
    reason: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_REASON_LENGTH, pattern=WITHOUT_CONTROLS, examples=["delivery"]),
    ]
    reference: Reference | None = None


class StockView(Struct, frozen=True):
    """The counts of a SKU, in units: `on_hand = available + reserved`."""

    sku: Sku
    on_hand: Annotated[Units, Meta(description="Existing and not yet sold", examples=[100])]
    available: Annotated[Units, Meta(description="Anyone may reserve them now", examples=[94])]
    reserved: Annotated[Units, Meta(description="Inside live holds", examples=[6])]
    sold: Annotated[Units, Meta(description="Committed since the SKU was created", examples=[12])]
    customer_limit: Annotated[int | None, Meta(examples=[4])]


class StockPageView(Struct, frozen=True):
    """Some SKUs, in byte order."""

    items: list[StockView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=["ODUxMjNB"])]


class LedgerEntry(Struct, frozen=True):
    """One movement of a SKU, in units."""

    event_id: Annotated[str, Meta(examples=["s0-1-42"])]
    kind: Annotated[
        str, Meta(extra_json_schema={"enum": ["adjust", "reserve", "commit", "release", "expire"]}, examples=["commit"])
    ]
    delta_available: Annotated[int, Meta(examples=[0])]
    delta_reserved: Annotated[int, Meta(examples=[-6])]
    delta_sold: Annotated[int, Meta(examples=[6])]
    reference: Annotated[str | None, Meta(examples=["order-536365"])]
    reason: Annotated[str | None, Meta(description="Of an adjustment", examples=[None])]
    at: Moment


class LedgerPage(Struct, frozen=True):
    """Some of a SKU's movements, newest first."""

    items: list[LedgerEntry]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


def view(level: StockLevel) -> StockView:
    """Counts as clients see them."""
    return StockView(level.sku, level.on_hand, level.available, level.reserved, level.sold, level.customer_limit)


def is_sku(text: str) -> bool:
    """Whether `text` can be a SKU at all."""
    try:
        msgspec.convert(text, Sku)
    except msgspec.ValidationError:
        return False
    return True


# What a request comes to


async def show_page(resources: Resources, limit: int, cursor: str | None) -> Reply | Problem:
    """A page of all stock. Raises Unavailable, and ProblemRaised for a bad cursor."""
    after = None if cursor is None else decode_cursor(cursor)
    if after is not None and not is_sku(after):
        raise bad_cursor()
    page = await resources.shard.stock_page(after, limit)
    following = None if page.next_after is None else encode_cursor(page.next_after)
    return Reply(200, StockPageView([view(level) for level in page.levels], following))


async def show(resources: Resources, sku: str) -> Reply | Problem:
    """One SKU's counts. Raises Unavailable."""
    level = await resources.shard.stock(sku) if is_sku(sku) else None
    return _unknown(sku) if level is None else Reply(200, view(level))


async def create(
    resources: Resources, caller: Caller, key: str | None, sku: str, body: StockRequest
) -> Reply | Problem:
    """Bring a SKU into being. Raises Unavailable."""
    if not is_sku(sku):
        return invalid("sku", RULES[SKU_PATTERN])
    request = Adjust(
        token=fresh_token() if key is None else derive_token(caller.client, "create-stock", key),
        fingerprint=fingerprint((sku, body.on_hand, body.customer_limit)),
        sku=sku,
        delta=body.on_hand,
        reason=CREATED,
        create=True,
        customer_limit=body.customer_limit,
    )
    return await _adjusted(resources, request, status=201)


async def adjust(resources: Resources, caller: Caller, key: str, sku: str, body: AdjustmentRequest) -> Reply | Problem:
    """Receive units or write them off. Raises Unavailable."""
    if body.delta == 0:
        return invalid("delta", "must not be 0")
    if not is_sku(sku):
        return _unknown(sku)
    request = Adjust(
        token=derive_token(caller.client, "adjust", key),
        fingerprint=fingerprint((sku, body.delta, body.reason, body.reference)),
        sku=sku,
        delta=body.delta,
        reason=body.reason,
        reference=body.reference or "",
    )
    return await _adjusted(resources, request, status=200)


async def show_ledger(resources: Resources, sku: str, limit: int, cursor: str | None) -> Reply | Problem:
    """A page of a SKU's movements, as far as they are flushed. Raises Unavailable, and ProblemRaised."""
    before = None if cursor is None else _position(cursor)
    if not is_sku(sku):
        return _unknown(sku)
    rows = await resources.database.ask(lambda pool: stored_stock.ledger(pool, sku, before, limit + 1))
    if not rows and not await _is_known(resources, sku):
        return _unknown(sku)
    following = encode_cursor(str(rows[limit - 1].position)) if len(rows) > limit else None
    return Reply(200, LedgerPage([_entry(row) for row in rows[:limit]], following))


async def _adjusted(resources: Resources, request: Adjust, status: int) -> Reply | Problem:
    answer = await resources.shard.adjust(request)
    if isinstance(answer, Refused):
        return refused(answer)
    return Reply(status, view(answer.level), replayed=answer.replayed)


async def _is_known(resources: Resources, sku: str) -> bool:
    if await resources.database.ask(lambda pool: stored_stock.knows(pool, sku)):
        return True
    return await resources.shard.stock(sku) is not None


def _unknown(sku: str) -> Problem:
    return refused(Refused(Refusal.UNKNOWN_SKU, skus=(sku[:MAX_SKU_LENGTH],)))


def _position(cursor: str) -> int:
    place = decode_cursor(cursor)
    if not place.isascii() or not place.isdigit() or not 0 < int(place) < MAX_POSITION:
        raise bad_cursor()
    return int(place)


def _entry(row: LedgerRow) -> LedgerEntry:
    return LedgerEntry(
        row.event_id,
        row.kind,
        row.delta_available,
        row.delta_reserved,
        row.delta_sold,
        row.reference,
        row.reason,
        moment(row.at_ms),
    )


class StockRoutes(Controller):
    """Stock over HTTP."""

    path = "/api/v1/stock"
    tags = ("Stock",)

    @get("/", opt=allow("storefront"), summary="List stock", responses=problems(*PROTECTED_CODES))
    async def list_stock(
        self, request: ApiRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response[StockPageView]:
        """The counts of every SKU, in order, a page at a time."""
        return respond(await show_page(request.resources, limit, cursor), request.path)

    @get(
        "/{sku:str}",
        opt=allow("storefront"),
        summary="Show a SKU's stock",
        responses=problems(*PROTECTED_CODES, "unknown-sku"),
    )
    async def show_stock(self, request: ApiRequest, sku: FromPath[str]) -> Response[StockView]:
        """The counts of one SKU now."""
        return respond(await show(request.resources, sku), request.path)

    @put(
        "/{sku:str}",
        status_code=201,
        opt={**allow("operator"), "idempotency": "optional"},
        summary="Create a SKU's stock",
        responses=problems(*PROTECTED_CODES, "sku-exists", "body-too-large", "idempotency-key-reused"),
    )
    async def create_stock(
        self, request: ApiRequest, sku: FromPath[str], data: JSONBody[StockRequest]
    ) -> Response[StockView]:
        """Bring a SKU into being with its first count."""
        outcome = await create(request.resources, request.caller, request.idempotency_key, sku, data)
        return respond(outcome, request.path)

    @post(
        "/{sku:str}/adjustments",
        status_code=200,
        opt={**allow("operator"), "idempotency": "required"},
        summary="Adjust a SKU's stock",
        responses=problems(
            *PROTECTED_CODES,
            "idempotency-key-required",
            "unknown-sku",
            "insufficient-stock",
            "body-too-large",
            "idempotency-key-reused",
        ),
    )
    async def adjust_stock(
        self, request: ApiRequest, sku: FromPath[str], data: JSONBody[AdjustmentRequest]
    ) -> Response[StockView]:
        """Receive units or write them off; answers the stock after it. `available` never goes below 0."""
        outcome = await adjust(request.resources, request.caller, request.require_idempotency_key(), sku, data)
        return respond(outcome, request.path)

    @get(
        "/{sku:str}/ledger",
        opt=allow("operator"),
        summary="Show a SKU's ledger",
        responses=problems(*PROTECTED_CODES, "unknown-sku"),
    )
    async def list_ledger(
        self, request: ApiRequest, sku: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response[LedgerPage]:
        """Every movement of a SKU, newest first, from PostgreSQL."""
        return respond(await show_ledger(request.resources, sku, limit, cursor), request.path)
