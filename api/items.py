"""Items over HTTP: what a shopper can buy, one line a variant, filtered. Reads from memory, counts from Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from litestar import Controller, Response, get
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from api.access.authentication import allow
from api.catalogue import page
from api.messages.errors import PROTECTED_CODES, Problem, problems
from api.messages.pages import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Limit, encode_cursor
from api.messages.replies import Reply, respond
from api.messages.requests import ApiRequest
from api.process.resources import Resources
from api.products import Currency, ProductName
from api.variants import VariantId
from engine.catalogue import MAX_NAME_LENGTH, MAX_PRICE_MINOR, Catalogue, Item
from engine.shard import Shard
from engine.stock import Sku

CHUNK_ITEMS = MAX_LIMIT
MAX_CHUNKS = 10
MAX_VALUE = 2 * MAX_PRICE_MINOR
NOT_NEGATIVE = {"minimum": 0}  # Litestar leaves a `ge` of 0 out of the document


class Filters(Struct, frozen=True):
    """Which items are asked for; None leaves a filter out. `category` is an id or a slug, and means all below it."""

    min_value: int | None = None
    max_value: int | None = None
    name: str | None = None
    category: str | None = None
    in_stock: bool | None = None


class ItemView(Struct, frozen=True):
    """A variant that is sold: `price` for one unit before any rule, `quantity` what anyone may reserve now."""

    id: VariantId
    sku: Sku
    name: ProductName
    price: Annotated[int, Meta(ge=0, description="In minor units of `currency`", examples=[3400])]
    currency: Currency
    quantity: Annotated[int, Meta(ge=0, description="Units available", examples=[114])]


class ItemPage(Struct, frozen=True):
    """Some items, in order of creation."""

    items: list[ItemView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


async def show_page(resources: Resources, limit: int, cursor: str | None, filters: Filters) -> Reply | Problem:
    """A page of items. Raises Unavailable, and ProblemRaised for a bad cursor."""
    catalogue = await resources.catalogue.current()
    keep = _matcher(catalogue, filters)
    if filters.in_stock is None:
        found, following = page(catalogue.items, limit, cursor, keep)
        return Reply(200, ItemPage(await _views(resources.shard, found), following))
    return Reply(200, await _stocked_page(resources.shard, catalogue.items, limit, cursor, keep, filters.in_stock))


async def _stocked_page(
    shard: Shard,
    items: Sequence[Item],
    limit: int,
    cursor: str | None,
    keep: Callable[[Item], bool],
    in_stock: bool,  # noqa: FBT001 - the filter's own name and value
) -> ItemPage:
    """At most MAX_CHUNKS questions to Redis: a page may be short, and its cursor leads on all the same."""
    found: list[ItemView] = []
    following = cursor
    for _ in range(MAX_CHUNKS):
        candidates, following = page(items, CHUNK_ITEMS, following, keep)
        for item, view in zip(candidates, await _views(shard, candidates), strict=True):
            if (view.quantity > 0) is in_stock:
                found.append(view)
                if len(found) == limit:
                    is_last = item is candidates[-1] and following is None
                    return ItemPage(found, None if is_last else encode_cursor(str(item.position)))
        if following is None:
            break
    return ItemPage(found, following)


async def _views(shard: Shard, items: Sequence[Item]) -> list[ItemView]:
    levels = await shard.stock_of([item.variant.sku for item in items])
    return [
        ItemView(
            item.variant.id,
            item.variant.sku,
            item.product.name,
            item.price,
            item.product.currency,
            levels[item.variant.sku].available if item.variant.sku in levels else 0,
        )
        for item in items
    ]


def _matcher(catalogue: Catalogue, filters: Filters) -> Callable[[Item], bool]:
    """What of an item the catalogue alone can tell."""
    lowest = 0 if filters.min_value is None else filters.min_value
    highest = MAX_VALUE if filters.max_value is None else filters.max_value
    part = (filters.name or "").casefold()
    within: frozenset[str] | None = None
    if filters.category is not None:
        category = catalogue.category(filters.category) or catalogue.category_of_slug(filters.category)
        within = frozenset() if category is None else catalogue.subtree(category.id)

    def keep(item: Item) -> bool:
        return (
            lowest <= item.price <= highest
            and part in item.folded_name
            and (within is None or item.product.category_id in within)
        )

    return keep


class ItemRoutes(Controller):
    """Items over HTTP."""

    path = "/api/v1/items"
    tags = ("Catalogue",)

    @get("/", opt=allow("storefront"), summary="List what is sold", responses=problems(*PROTECTED_CODES))
    async def list_items(
        self,
        request: ApiRequest,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        min_value: Annotated[
            int | None,
            QueryParameter(ge=0, le=MAX_VALUE, description="Lowest price, in minor units", schema_extra=NOT_NEGATIVE),
        ] = None,
        max_value: Annotated[
            int | None,
            QueryParameter(ge=0, le=MAX_VALUE, description="Highest price, in minor units", schema_extra=NOT_NEGATIVE),
        ] = None,
        name: Annotated[
            str | None, QueryParameter(max_length=MAX_NAME_LENGTH, description="Part of the name, in any case")
        ] = None,
        category: Annotated[
            str | None, QueryParameter(max_length=MAX_NAME_LENGTH, description="Id or slug; all below it belongs to it")
        ] = None,
        in_stock: Annotated[
            bool | None, QueryParameter(description="true: at least one unit is available; false: none is")
        ] = None,
    ) -> Response[ItemPage]:
        """Every variant of an active product that is not retired, in order of creation. A page may be shorter than its
        limit and still have a next one.
        """
        filters = Filters(min_value, max_value, name, category, in_stock)
        return respond(await show_page(request.resources, limit, cursor, filters), request.path)
