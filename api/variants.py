"""Variants over HTTP: the SKUs of a product, with their stock from Redis. The functions judge; the routes follow.

Where a process dies half-way: creating makes the stock just before the commit, so what can be left is stock without a
variant; creating it again adopts that stock and counts it as asked for. Changing `stock_quantity` adjusts just before
the commit, so the count may be new and the other fields old; the same PUT again finds the count right. Deleting writes
the stock off just before the commit, so a variant may be left with nothing in stock; deleting it again goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import Controller, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from api.access.authentication import Caller, allow
from api.catalogue import Change, keyed_change, page
from api.categories import MAX_ID_LENGTH, Id
from api.messages.body_limits import RawHeaders
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problem, problems
from api.messages.pages import DEFAULT_LIMIT, Cursor, Limit
from api.messages.preconditions import etag_of, unmet
from api.messages.refusals import refused
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import WITHOUT_CONTROLS
from api.process.resources import Resources
from engine.catalogue import (
    MAX_ATTRIBUTE_LENGTH,
    MAX_ATTRIBUTE_NAME_LENGTH,
    MAX_ATTRIBUTE_NUMBER,
    MAX_ATTRIBUTES,
    MAX_PRICE_MINOR,
    MAX_VARIANTS_OF_PRODUCT,
    VARIANT_PREFIX,
    Catalogue,
    Variant,
)
from engine.idempotency import fresh_token
from engine.refusals import Refusal, Refused
from engine.shard import Shard
from engine.stock import MAX_COUNT, Sku, StockLevel
from engine.variant_stock import count, establish, write_off_unsold
from persistence import stock as stored_stock
from persistence import variants as stored
from persistence.catalogue import note_deletion

VariantId = Annotated[Id, Meta(examples=["var_3q2-7wEAAAAAAAAAAAAAAA"])]
ProductId = Annotated[Id, Meta(examples=["prod_3q2-7wEAAAAAAAAAAAAAAA"])]
_Number = Meta(ge=-MAX_ATTRIBUTE_NUMBER, le=MAX_ATTRIBUTE_NUMBER)
Attributes = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=MAX_ATTRIBUTE_NAME_LENGTH, pattern=WITHOUT_CONTROLS)],
        Annotated[str, Meta(max_length=MAX_ATTRIBUTE_LENGTH, pattern=WITHOUT_CONTROLS)]
        | Annotated[int, _Number]
        | Annotated[float, _Number]
        | bool,
    ],
    Meta(max_length=MAX_ATTRIBUTES, description="Names with a string, number or boolean each"),
]
PriceAdjustment = Annotated[
    int,
    Meta(
        ge=-MAX_PRICE_MINOR,
        le=MAX_PRICE_MINOR,
        description="Added to the product's base_price, in minor units; the sum is never below 0",
        examples=[500],
    ),
]
StockQuantity = Annotated[
    int, Meta(ge=0, le=MAX_COUNT, description="Units that exist and are not yet sold", examples=[120])
]


class VariantRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A variant. `stock_quantity` is the SKU's first count (0 unless told), or what was counted."""

    product_id: ProductId
    sku: Sku
    attributes: Annotated[Attributes, Meta(examples=[{"size": "M", "colour": "black"}])] = {}
    price_adjustment: PriceAdjustment = 0
    stock_quantity: StockQuantity | UnsetType = UNSET


class VariantView(Struct, frozen=True):
    """A variant and its stock now. A `retired` one was sold or reserved when it was deleted, and is sold no more."""

    id: VariantId
    product_id: ProductId
    sku: Sku
    attributes: Annotated[Attributes, Meta(examples=[{"size": "M", "colour": "black"}])]
    price_adjustment: PriceAdjustment
    stock_quantity: Annotated[int, Meta(ge=0, description="`on_hand` of its SKU", examples=[120])]
    reserved_quantity: Annotated[int, Meta(ge=0, description="Inside live holds", examples=[6])]
    available: Annotated[int, Meta(ge=0, description="Anyone may reserve them now", examples=[114])]
    retired: Annotated[bool, Meta(examples=[False])]
    created_at: Moment
    updated_at: Moment


class VariantPage(Struct, frozen=True):
    """Some variants, in order of creation."""

    items: list[VariantView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


def view(variant: Variant, level: StockLevel | None) -> VariantView:
    """A variant as clients see it; without stock, nothing is in stock."""
    return VariantView(
        id=variant.id,
        product_id=variant.product_id,
        sku=variant.sku,
        attributes=dict(variant.attributes),
        price_adjustment=variant.price_adjustment,
        stock_quantity=0 if level is None else level.on_hand,
        reserved_quantity=0 if level is None else level.reserved,
        available=0 if level is None else level.available,
        retired=variant.retired,
        created_at=moment(variant.created_ms),
        updated_at=moment(variant.updated_ms),
    )


async def views(shard: Shard, variants: Sequence[Variant]) -> list[VariantView]:
    """Variants with their stock, all read at one moment. Raises Unavailable."""
    levels = await shard.stock_of([variant.sku for variant in variants])
    return [view(variant, levels.get(variant.sku)) for variant in variants]


def unknown_variant(variant_id: str) -> Problem:
    return problem("unknown-variant", f"There is no variant {variant_id[:MAX_ID_LENGTH]}.")


def unknown_product(product_id: str) -> Problem:
    return problem("unknown-product", f"There is no product {product_id[:MAX_ID_LENGTH]}.")


# What a request comes to


async def show_page(resources: Resources, limit: int, cursor: str | None, product_id: str | None) -> Reply | Problem:
    """A page of all variants, or of a product's. Raises Unavailable, and ProblemRaised for a bad cursor."""
    catalogue = await resources.catalogue.current()
    rows = catalogue.variants if product_id is None else catalogue.variants_of(product_id)
    found, following = page(rows, limit, cursor)
    return Reply(200, VariantPage(await views(resources.shard, found), following))


async def show(resources: Resources, variant_id: str) -> Reply | Problem:
    """One variant. Raises Unavailable."""
    variant = (await resources.catalogue.current()).variant(variant_id)
    if variant is None:
        return unknown_variant(variant_id)
    return _reply(200, variant, await resources.shard.stock(variant.sku))


async def create(resources: Resources, caller: Caller, key: str | None, body: VariantRequest) -> Reply | Problem:
    """Make a variant and its stock. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        refusal = _judge(change.catalogue, None, body)
        if refusal is not None:
            return refusal
        wanted = Variant(
            id=VARIANT_PREFIX + fresh_token(),
            product_id=body.product_id,
            sku=body.sku,
            attributes=body.attributes,
            price_adjustment=body.price_adjustment,
            version=change.version,
        )
        made = await stored.insert(change.connection, wanted)
        quantity = None if body.stock_quantity is UNSET else body.stock_quantity
        level = await establish(resources.shard, body.sku, quantity)
        return refused_stock(level) if isinstance(level, Refused) else _reply(201, made, level)

    return await resources.catalogue.change(work, keyed_change(caller, "create-variant", key, body))


async def update(resources: Resources, headers: RawHeaders, variant_id: str, body: VariantRequest) -> Reply | Problem:
    """Replace what may change of a variant, and its count where one is told. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        variant = change.catalogue.variant(variant_id)
        if variant is None:
            return unknown_variant(variant_id)
        refusal = unmet(headers, variant.version) or _judge(change.catalogue, variant, body)
        if refusal is not None:
            return refusal
        wanted = replace(
            variant,
            product_id=body.product_id,
            attributes=body.attributes,
            price_adjustment=body.price_adjustment,
            version=change.version,
        )
        made = await stored.update(change.connection, wanted)
        if body.stock_quantity is UNSET:
            return _reply(200, made, await resources.shard.stock(variant.sku))
        level = await count(resources.shard, variant.sku, body.stock_quantity)
        return refused_stock(level) if isinstance(level, Refused) else _reply(200, made, level)

    return await resources.catalogue.change(work)


async def remove(resources: Resources, headers: RawHeaders, variant_id: str) -> Reply | Problem:
    """Delete a variant that never sold, with what is left of its stock; retire any other. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        variant = change.catalogue.variant(variant_id)
        if variant is None:
            return unknown_variant(variant_id)
        refusal = unmet(headers, variant.version)
        if refusal is not None:
            return refusal
        was_sold = await stored_stock.was_sold(change.connection, [variant.sku])
        if not was_sold and await write_off_unsold(resources.shard, variant.sku):
            await stored.delete(change.connection, variant_id)
            await note_deletion(change.connection, variant_id, change.version)
            return Reply(204, None)
        if not variant.retired:
            wanted = replace(variant, retired=True, version=change.version)
            variant = await stored.update(change.connection, wanted)
        return _reply(200, variant, await resources.shard.stock(variant.sku))

    return await resources.catalogue.change(work)


def refused_stock(refusal: Refused) -> Problem:
    """Why a count could not become what was asked for."""
    if refusal.refusal is Refusal.COUNT_TOO_LARGE:
        return invalid("stock_quantity", "more units than can be counted")
    return refused(refusal)


def _judge(catalogue: Catalogue, variant: Variant | None, body: VariantRequest) -> Problem | None:
    """Why the variant, or a new one, cannot become this."""
    if variant is not None and body.sku != variant.sku:
        return invalid("sku", "the SKU of a variant cannot change")
    product = catalogue.product(body.product_id)
    if product is None:
        return unknown_product(body.product_id)
    if variant is None and catalogue.variant_of_sku(body.sku) is not None:
        return problem("sku-exists", f"Another variant has the SKU {body.sku}.")
    if product.base_price + body.price_adjustment < 0:
        return invalid("price_adjustment", f"takes more off than the base_price of {product.base_price}")
    is_joining = variant is None or variant.product_id != product.id
    if is_joining and len(catalogue.variants_of(product.id)) >= MAX_VARIANTS_OF_PRODUCT:
        return invalid("product_id", f"the product has {MAX_VARIANTS_OF_PRODUCT} variants, and cannot have more")
    return None


def _reply(status: int, variant: Variant, level: StockLevel | None) -> Reply:
    return Reply(status, view(variant, level), etag=etag_of(variant.version))


class VariantRoutes(Controller):
    """Variants over HTTP."""

    path = "/api/v1/variants"
    tags = ("Catalogue",)

    @get("/", opt=allow("storefront"), summary="List variants", responses=problems(*PROTECTED_CODES))
    async def list_variants(
        self,
        request: ApiRequest,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        product_id: Annotated[
            str | None, QueryParameter(max_length=MAX_ID_LENGTH, description="Only the variants of this product")
        ] = None,
    ) -> Response[VariantPage]:
        """Every variant with its stock, in order of creation, a page at a time."""
        return respond(await show_page(request.resources, limit, cursor, product_id), request.path)

    @get(
        "/{variant_id:str}",
        opt={**allow("storefront"), "etag": True},
        summary="Show a variant",
        responses=problems(*PROTECTED_CODES, "unknown-variant"),
    )
    async def show_variant(self, request: ApiRequest, variant_id: FromPath[str]) -> Response[VariantView]:
        """One variant with its stock now. The ETag is of what a PUT replaces, not of the stock."""
        return respond(await show(request.resources, variant_id), request.path)

    @post(
        "/",
        status_code=201,
        opt={**allow("operator"), "idempotency": "optional", "etag": True},
        summary="Create a variant",
        responses=problems(
            *PROTECTED_CODES,
            "unknown-product",
            "sku-exists",
            "insufficient-stock",
            "body-too-large",
            "idempotency-key-reused",
        ),
    )
    async def create_variant(self, request: ApiRequest, data: JSONBody[VariantRequest]) -> Response[VariantView]:
        """Make a variant of a product, and its stock. Stock that the SKU has already is counted anew."""
        return respond(await create(request.resources, request.caller, request.idempotency_key, data), request.path)

    @put(
        "/{variant_id:str}",
        opt={**allow("operator"), "etag": True, "if_match": True},
        summary="Replace a variant",
        responses=problems(
            *PROTECTED_CODES,
            "unknown-variant",
            "unknown-product",
            "insufficient-stock",
            "precondition-failed",
            "body-too-large",
        ),
    )
    async def replace_variant(
        self, request: ApiRequest, variant_id: FromPath[str], data: JSONBody[VariantRequest]
    ) -> Response[VariantView]:
        """Replace what may change; the SKU may not. `stock_quantity`, if told, is what was counted just now."""
        outcome = await update(request.resources, request.scope["headers"], variant_id, data)
        return respond(outcome, request.path)

    @delete(
        "/{variant_id:str}",
        status_code=200,
        opt={**allow("operator"), "if_match": True},
        summary="Delete or retire a variant",
        responses={
            **problems(*PROTECTED_CODES, "unknown-variant", "precondition-failed"),
            204: ResponseSpec(None, description="It never sold and is deleted, its stock written off"),
        },
    )
    async def delete_variant(self, request: ApiRequest, variant_id: FromPath[str]) -> Response[VariantView]:
        """Delete a variant that never sold (204). One that sold, or is reserved, is retired and answered (200)."""
        return respond(await remove(request.resources, request.scope["headers"], variant_id), request.path)
