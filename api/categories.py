"""Categories over HTTP: a tree that products are sorted into. The functions judge; the routes follow."""

from __future__ import annotations

from typing import Annotated

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
from api.messages.texts import SLUG, VISIBLE, WORD
from api.process.resources import Resources
from engine.catalogue import (
    CATEGORY_PREFIX,
    MAX_CATEGORY_DEPTH,
    MAX_NAME_LENGTH,
    MAX_SLUG_LENGTH,
    Catalogue,
    Category,
)
from engine.idempotency import fresh_token
from persistence import categories as stored
from persistence.catalogue import note_deletion

MAX_ID_LENGTH = 64

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH, pattern=WORD)]
CategoryId = Annotated[Id, Meta(examples=["cat_3q2-7wEAAAAAAAAAAAAAAA"])]
CategoryName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, pattern=VISIBLE, examples=["Candles"])]
Slug = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_SLUG_LENGTH,
        pattern=SLUG,
        description="What a URL shows of it: 1 to 64 lower-case letters, digits and hyphens, unique",
        examples=["candles"],
    ),
]


class CategoryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A category; without a parent it is a root."""

    name: CategoryName
    slug: Slug
    parent_id: CategoryId | None = None


class CategoryView(Struct, frozen=True):
    """A category."""

    id: CategoryId
    name: CategoryName
    slug: Slug
    parent_id: Annotated[str | None, Meta(description="null for a root", examples=[None])]
    created_at: Moment
    updated_at: Moment


class CategoryPage(Struct, frozen=True):
    """Some categories, in order of creation."""

    items: list[CategoryView]
    next_cursor: Annotated[str | None, Meta(description="null on the last page", examples=[None])]


def view(category: Category) -> CategoryView:
    """A category as clients see it."""
    return CategoryView(
        category.id,
        category.name,
        category.slug,
        category.parent_id,
        moment(category.created_ms),
        moment(category.updated_ms),
    )


def unknown_category(category_id: str) -> Problem:
    return problem("unknown-category", f"There is no category {category_id[:MAX_ID_LENGTH]}.")


# What a request comes to


async def show_page(resources: Resources, limit: int, cursor: str | None) -> Reply | Problem:
    """A page of all categories. Raises Unavailable, and ProblemRaised for a bad cursor."""
    catalogue = await resources.catalogue.current()
    found, following = page(catalogue.categories, limit, cursor)
    return Reply(200, CategoryPage([view(category) for category in found], following))


async def show(resources: Resources, category_id: str) -> Reply | Problem:
    """One category. Raises Unavailable."""
    category = (await resources.catalogue.current()).category(category_id)
    return unknown_category(category_id) if category is None else _reply(200, category)


async def create(resources: Resources, caller: Caller, key: str | None, body: CategoryRequest) -> Reply | Problem:
    """Make a category. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        refusal = _judge(change.catalogue, None, body)
        if refusal is not None:
            return refusal
        made = Category(
            id=CATEGORY_PREFIX + fresh_token(),
            name=body.name,
            slug=body.slug,
            parent_id=body.parent_id,
            version=change.version,
        )
        return _reply(201, await stored.insert(change.connection, made))

    return await resources.catalogue.change(work, keyed_change(caller, "create-category", key, body))


async def update(resources: Resources, headers: RawHeaders, category_id: str, body: CategoryRequest) -> Reply | Problem:
    """Rename a category, or move it with everything below it. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        category = change.catalogue.category(category_id)
        if category is None:
            return unknown_category(category_id)
        refusal = unmet(headers, category.version) or _judge(change.catalogue, category, body)
        if refusal is not None:
            return refusal
        wanted = replace(category, name=body.name, slug=body.slug, parent_id=body.parent_id, version=change.version)
        return _reply(200, await stored.update(change.connection, wanted))

    return await resources.catalogue.change(work)


async def remove(resources: Resources, headers: RawHeaders, category_id: str) -> Reply | Problem:
    """Delete a category that nothing is in. Raises Unavailable."""

    async def work(change: Change) -> Reply | Problem:
        category = change.catalogue.category(category_id)
        if category is None:
            return unknown_category(category_id)
        refusal = unmet(headers, category.version)
        if refusal is not None:
            return refusal
        if change.catalogue.children(category_id) or change.catalogue.products_of(category_id):
            return problem("category-in-use", "Move or delete what is in it first.")
        await stored.delete(change.connection, category_id)
        await note_deletion(change.connection, category_id, change.version)
        return Reply(204, None)

    return await resources.catalogue.change(work)


def _judge(catalogue: Catalogue, category: Category | None, body: CategoryRequest) -> Problem | None:
    """Why the category, or a new one, cannot become this."""
    if body.parent_id is not None:
        if catalogue.category(body.parent_id) is None:
            return unknown_category(body.parent_id)
        above = catalogue.ancestors(body.parent_id)
        if category is not None and category.id in above:
            return invalid("parent_id", "a category cannot be below itself")
        if len(above) + (1 if category is None else catalogue.height(category.id)) > MAX_CATEGORY_DEPTH:
            return invalid("parent_id", f"the tree has at most {MAX_CATEGORY_DEPTH} levels")
    namesake = catalogue.category_of_slug(body.slug)
    if namesake is not None and (category is None or namesake.id != category.id):
        return problem("slug-exists", f"Another category has the slug {body.slug}.")
    return None


def _reply(status: int, category: Category) -> Reply:
    return Reply(status, view(category), etag=etag_of(category.version))


class CategoryRoutes(Controller):
    """Categories over HTTP."""

    path = "/api/v1/categories"
    tags = ("Catalogue",)

    @get("/", opt=allow("storefront"), summary="List categories", responses=problems(*PROTECTED_CODES))
    async def list_categories(
        self, request: ApiRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Response[CategoryPage]:
        """Every category, in order of creation, a page at a time."""
        return respond(await show_page(request.resources, limit, cursor), request.path)

    @get(
        "/{category_id:str}",
        opt={**allow("storefront"), "etag": True},
        summary="Show a category",
        responses=problems(*PROTECTED_CODES, "unknown-category"),
    )
    async def show_category(self, request: ApiRequest, category_id: FromPath[str]) -> Response[CategoryView]:
        """One category."""
        return respond(await show(request.resources, category_id), request.path)

    @post(
        "/",
        status_code=201,
        opt={**allow("operator"), "idempotency": "optional", "etag": True},
        summary="Create a category",
        responses=problems(
            *PROTECTED_CODES, "unknown-category", "slug-exists", "body-too-large", "idempotency-key-reused"
        ),
    )
    async def create_category(self, request: ApiRequest, data: JSONBody[CategoryRequest]) -> Response[CategoryView]:
        """Make a category, at the root or below another."""
        return respond(await create(request.resources, request.caller, request.idempotency_key, data), request.path)

    @put(
        "/{category_id:str}",
        opt={**allow("operator"), "etag": True, "if_match": True},
        summary="Replace a category",
        responses=problems(
            *PROTECTED_CODES, "unknown-category", "slug-exists", "precondition-failed", "body-too-large"
        ),
    )
    async def replace_category(
        self, request: ApiRequest, category_id: FromPath[str], data: JSONBody[CategoryRequest]
    ) -> Response[CategoryView]:
        """Rename a category, or move it with everything below it; never below itself."""
        outcome = await update(request.resources, request.scope["headers"], category_id, data)
        return respond(outcome, request.path)

    @delete(
        "/{category_id:str}",
        status_code=204,
        opt={**allow("operator"), "if_match": True},
        summary="Delete a category",
        responses=problems(*PROTECTED_CODES, "unknown-category", "category-in-use", "precondition-failed"),
    )
    async def delete_category(self, request: ApiRequest, category_id: FromPath[str]) -> Response[None]:
        """Delete a category that has neither products nor categories below it."""
        return respond(await remove(request.resources, request.scope["headers"], category_id), request.path)
