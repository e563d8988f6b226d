"""Products over HTTP: what variants are variants of. The functions judge; the routes follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from api.access.authentication import Caller, allow
from api.catalogue import Change, keyed_change, page
from api.categories import MAX_ID_LENGTH, CategoryId, unknown_category
from api.messages.body_limits import RawHeaders
from api.messages.errors import PROTECTED_CODES, Problem, invalid, problems
from api.messages.pages import DEFAULT_LIMIT, Cursor, Limit
from api.messages.preconditions import etag_of, unmet
from api.messages.replies import Moment, Reply, moment, respond
from api.messages.requests import ApiRequest
from api.messages.texts import CURRENCY, PLAIN_TEXT, VISIBLE, WITHOUT_CONTROLS
from api.process.resources import Resources
from api.variants import Attributes, ProductId, VariantView, unknown_product, views
from engine.catalogue import (
    CURRENCY_DIGITS,
    MAX_BRAND_LENGTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_NAME_LENGTH,
    MAX_PRICE_MINOR,
    MAX_TAG_LENGTH,
    MAX_TAGS,
    PRODUCT_PREFIX,
    Catalogue,
    Product,
    ProductStatus,
    Variant,
)
from engine.idempotency import fresh_token
from engine.shard import Shard
from engine.variant_stock import write_off_unsold
from persistence import products as stored
from persistence import stock as stored_stock
from persistence import variants as stored_variants
from persistence.catalogue import note_deletion

ProductName = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, pattern=VISIBLE, examples=["Harbour T-shirt"])
]
Description = Annotated[
    str, Meta(max_length=MAX_DESCRIPTION_LENGTH, pattern=PLAIN_TEXT, examples=["Heavy organic cotton."])
]
BasePrice = Annotated[
    int, Meta(ge=0, le=MAX_PRICE_MINOR, description="For one unit, in minor units of `currency`", examples=[2900])
]
Currency = Annotated[str, Meta(pattern=CURRENCY, description="ISO 4217", examples=["EUR"])]
Brand = Annotated[str, Meta(min_length=1, max_length=MAX_BRAND_LENGTH, pattern=VISIBLE, examples=["Harbour"])]
Tags = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=MAX_TAG_LENGTH, pattern=WITHOUT_CONTROLS)]],
    Meta(max_length=MAX_TAGS, examples=[["summer", "cotton"]]),
]
ProductAttributes = Annotated[Attributes, Meta(examples=[{"material": "cotton", "weight_g": 220}])]
Status = Annotated[ProductStatus, Meta(description="Only `active` products are sold", examples=["active"])]


class ProductRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A product; what is left out has its default, in a PUT too."""

    name: ProductName
    base_price: BasePrice
    currency: Currency
    description: Description = ""
    category_id: CategoryId | None = None
    status: Status = ProductStatus.ACTIVE
    brand: Brand | None = None
    tags: Tags = []
    attributes: ProductAttributes = {}


class ProductView(Struct, frozen=True):
    """A product; with its variants where it is asked for by its id."""

    id: ProductId
    name: ProductName
    description: Description
    base_price: BasePrice
    currency: Currency
    category_id: Annotated[str | None, Meta(examples=["cat_3q2-7wEAAAAAAAAAAAAAAA"])]
    status: Status
    brand: Annotated[str | None, Meta(examples=["Harbour"])]
    tags: Tags
    attributes: ProductAttributes
    created_at: Moment
    updated_at: Moment
    variants: Annotated[list[VariantView], Meta(description="Not in lists; `GET /items` lists what is sold")] | (
        UnsetType
    ) = UNSET


class ProductPage(Struct, frozen=True):
    """Some products, in order of creation, without their variants."""

    items: list[ProductView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


def view(product: Product, variants: list[VariantView] | UnsetType = UNSET) -> ProductView:
    """A product as clients see it."""
    return ProductView(
        id=product.id,
        name=product.name,
        description=product.description,
        base_price=product.base_price,
        currency=product.currency,
        category_id=product.category_id,
        status=product.status,
        brand=product.brand,
        tags=list(product.tags),
        attributes=dict(product.attributes),
        created_at=moment(product.created_ms),
        updated_at=moment(product.updated_ms),
        variants=variants,
    )


# What a request comes to


async def show_page(
    resources: Resources, limit: int, cursor: str | None, category_id: str | None, status: ProductStatus | None
) -> Reply | Problem:
    """A page of products, of a category's subtree and a status where told. Raises Unavailable, and ProblemRaised."""
    catalogue = await resources.catalogue.current()
    rows = catalogue.products if category_id is None else catalogue.products_under(category_id)
    found, following = page(rows, limit, cursor, lambda product: status is None or product.status is status)
    return Reply(200, ProductPage([view(product) for product in found], following))


async def show(resources: Resources, product_id: str) -> Reply | Problem:
    """One product with its variants. Raises Unavailable."""
    catalogue = await resources.catalogue.current()
    product = catalogue.product(product_id)
    if product is None:
        return unknown_product(product_id)
    return await _reply(200, product, resources.shard, catalogue.variants_of(product_id))


async def create(resources: Resources, caller: Caller, key: str | None, body: ProductRequest) -> Reply | Problem:
    """Make a product. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        refusal = _judge(change.catalogue, body, ())
        if refusal is not None:
            return refusal
        wanted = Product(id=PRODUCT_PREFIX + fresh_token(), **_fields(body), version=change.version)
        return await _reply(201, await stored.insert(change.connection, wanted), resources.shard, ())

    return await resources.catalogue.change(work, keyed_change(caller, "create-product", key, body))


async def update(resources: Resources, headers: RawHeaders, product_id: str, body: ProductRequest) -> Reply | Problem:
    """Replace a product. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        product = change.catalogue.product(product_id)
        if product is None:
            return unknown_product(product_id)
        variants = change.catalogue.variants_of(product_id)
        refusal = unmet(headers, product.version) or _judge(change.catalogue, body, variants)
        if refusal is not None:
            return refusal
        wanted = replace(product, **_fields(body), version=change.version)
        return await _reply(200, await stored.update(change.connection, wanted), resources.shard, variants)

    return await resources.catalogue.change(work)


async def remove(resources: Resources, headers: RawHeaders, product_id: str) -> Reply | Problem:
    """Delete a product of which nothing was sold, with its variants and their stock; discontinue any other.

    Where a variant is reserved just as others were written off, those stay with nothing in stock. Raises Unavailable.
    """

    async def work(change: Change) -> Reply | Problem:
        product = change.catalogue.product(product_id)
        if product is None:
            return unknown_product(product_id)
        refusal = unmet(headers, product.version)
        if refusal is not None:
            return refusal
        variants = change.catalogue.variants_of(product_id)
        was_sold = await stored_stock.was_sold(change.connection, [variant.sku for variant in variants])
        if not was_sold and await _write_off_all(resources.shard, variants):
            for variant in variants:
                await stored_variants.delete(change.connection, variant.id)
                await note_deletion(change.connection, variant.id, change.version)
            await stored.delete(change.connection, product_id)
            await note_deletion(change.connection, product_id, change.version)
            return Reply(204, None)
        if product.status is not ProductStatus.DISCONTINUED:
            wanted = replace(product, status=ProductStatus.DISCONTINUED, version=change.version)
            product = await stored.update(change.connection, wanted)
        return await _reply(200, product, resources.shard, variants)

    return await resources.catalogue.change(work)


async def _write_off_all(shard: Shard, variants: Sequence[Variant]) -> bool:
    """False when any of it was ever sold or is reserved; one look at all of them comes before the first write-off."""
    await shard.expire_due()
    levels = await shard.stock_of([variant.sku for variant in variants])
    if any(level.sold > 0 or level.reserved > 0 for level in levels.values()):
        return False
    for variant in variants:
        if not await write_off_unsold(shard, variant.sku):
            return False
    return True


def _judge(catalogue: Catalogue, body: ProductRequest, variants: Sequence[Variant]) -> Problem | None:
    """Why a product with these variants cannot be this."""
    if body.currency not in CURRENCY_DIGITS:
        return invalid("currency", "is no ISO 4217 code")
    if body.category_id is not None and catalogue.category(body.category_id) is None:
        return unknown_category(body.category_id)
    below = next((variant for variant in variants if body.base_price + variant.price_adjustment < 0), None)
    if below is not None:
        return invalid("base_price", f"less than the price_adjustment of {below.sku} takes off")
    return None


def _fields(body: ProductRequest) -> dict[str, Any]:
    return {
        "name": body.name,
        "description": body.description,
        "base_price": body.base_price,
        "currency": body.currency,
        "category_id": body.category_id,
        "status": body.status,
        "brand": body.brand,
        "tags": tuple(body.tags),
        "attributes": body.attributes,
    }


async def _reply(status: int, product: Product, shard: Shard, variants: Sequence[Variant]) -> Reply:
    return Reply(status, view(product, await views(shard, variants)), etag=etag_of(product.version))


class ProductRoutes(Controller):
    """Products over HTTP."""

    path = "/api/v1/products"
    tags = ("Catalogue",)

    @get("/", opt=allow("storefront"), summary="List products", responses=problems(*PROTECTED_CODES))
    async def list_products(
        self,
        request: ApiRequest,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        category_id: Annotated[
            str | None,
            QueryParameter(max_length=MAX_ID_LENGTH, description="Only those in this category or below it"),
        ] = None,
        status: Annotated[ProductStatus | None, QueryParameter(description="Only those of this status")] = None,
    ) -> Response[ProductPage]:
        """Every product, in order of creation, a page at a time."""
        return respond(await show_page(request.resources, limit, cursor, category_id, status), request.path)

    @get(
        "/{product_id:str}",
        opt={**allow("storefront"), "etag": True},
        summary="Show a product",
        responses=problems(*PROTECTED_CODES, "unknown-product"),
    )
    async def show_product(self, request: ApiRequest, product_id: FromPath[str]) -> Response[ProductView]:
        """One product with its variants and their stock. The ETag is of the product's own fields."""
        return respond(await show(request.resources, product_id), request.path)

    @post(
        "/",
        status_code=201,
        opt={**allow("operator"), "idempotency": "optional", "etag": True},
        summary="Create a product",
        responses=problems(*PROTECTED_CODES, "unknown-category", "body-too-large", "idempotency-key-reused"),
    )
    async def create_product(self, request: ApiRequest, data: JSONBody[ProductRequest]) -> Response[ProductView]:
        """Make a product; it is sold once it has variants."""
        return respond(await create(request.resources, request.caller, request.idempotency_key, data), request.path)

    @put(
        "/{product_id:str}",
        opt={**allow("operator"), "etag": True, "if_match": True},
        summary="Replace a product",
        responses=problems(
            *PROTECTED_CODES, "unknown-product", "unknown-category", "precondition-failed", "body-too-large"
        ),
    )
    async def replace_product(
        self, request: ApiRequest, product_id: FromPath[str], data: JSONBody[ProductRequest]
    ) -> Response[ProductView]:
        """Replace a product's fields; its variants stay."""
        outcome = await update(request.resources, request.scope["headers"], product_id, data)
        return respond(outcome, request.path)

    @delete(
        "/{product_id:str}",
        status_code=200,
        opt={**allow("operator"), "if_match": True},
        summary="Delete or discontinue a product",
        responses={
            **problems(*PROTECTED_CODES, "unknown-product", "precondition-failed"),
            204: ResponseSpec(None, description="Nothing of it was ever sold; it is deleted with its variants"),
        },
    )
    async def delete_product(self, request: ApiRequest, product_id: FromPath[str]) -> Response[ProductView]:
        """Delete a product that never sold, with its variants and their stock (204). Where anything of it was sold, or
        is reserved, it is discontinued and answered (200): nothing of it is listed any more.
        """
        return respond(await remove(request.resources, request.scope["headers"], product_id), request.path)
