"""Documentation: the OpenAPI document, completed from what the routes declare, and a page that needs no network."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Litestar, Request, Router, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme, Tag
from litestar.params import FromPath
from litestar.response import Redirect
from litestar.routes import BaseRoute, HTTPRoute
from msgspec import Struct

from api.access.authentication import allow
from api.access.rate_limits import HEADER_DOCUMENTATION
from api.cart_items import ITEM_EXAMPLE
from api.coupons import COUPON_EXAMPLE, CouponCode
from api.documentation.page import content_security_policy, render_page
from api.holds import HOLD_EXAMPLE
from api.messages.errors import KINDS, ProblemRaised, problem, problems
from api.messages.idempotency import HEADER
from api.messages.replies import REPLAYED_HEADER
from api.pricing_rules import RULE_EXAMPLE
from engine.carts import ID_PREFIX as CART_PREFIX
from engine.catalogue import CATEGORY_PREFIX, PRODUCT_PREFIX, VARIANT_PREFIX
from engine.holds import ID_PREFIX
from engine.idempotency import MAX_KEY_LENGTH
from engine.orders import ID_PREFIX as ORDER_PREFIX
from engine.pricing import RULE_PREFIX
from engine.stock import Sku

VERSION = "1"
JSON = "application/json"
SCHEMA_REF = "#/components/schemas/{name}"
MAX_EXAMPLE_DEPTH = 12
PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "sku": {"description": "The SKU", "schema": msgspec.json.schema(Sku), "example": "85123A"},
    "hold_id": {
        "description": "The hold's id",
        "schema": {"type": "string", "pattern": f"^{ID_PREFIX}"},
        "example": HOLD_EXAMPLE["id"],
    },
    "category_id": {
        "description": "The category's id",
        "schema": {"type": "string", "pattern": f"^{CATEGORY_PREFIX}"},
        "example": "cat_3q2-7wEAAAAAAAAAAAAAAA",
    },
    "product_id": {
        "description": "The product's id",
        "schema": {"type": "string", "pattern": f"^{PRODUCT_PREFIX}"},
        "example": "prod_3q2-7wEAAAAAAAAAAAAAAA",
    },
    "variant_id": {
        "description": "The variant's id",
        "schema": {"type": "string", "pattern": f"^{VARIANT_PREFIX}"},
        "example": "var_3q2-7wEAAAAAAAAAAAAAAA",
    },
    "rule_id": {
        "description": "The pricing rule's id",
        "schema": {"type": "string", "pattern": f"^{RULE_PREFIX}"},
        "example": "rule_3q2-7wEAAAAAAAAAAAAAAA",
    },
    "coupon_code": {
        "description": "The coupon's code, in any case of letters",
        "schema": msgspec.json.schema(CouponCode),
        "example": COUPON_EXAMPLE["code"],
    },
    "cart_id": {
        "description": "The cart's id",
        "schema": {"type": "string", "pattern": f"^{CART_PREFIX}"},
        "example": "cart_3q2-7wEAAAAAAAAAAAAAAA",
    },
    "order_id": {
        "description": "The order's id",
        "schema": {"type": "string", "pattern": f"^{ORDER_PREFIX}"},
        "example": "ord_3q2-7wEAAAAAAAAAAAAAAA-51b2",
    },
    "code": {
        "description": "The problem's code",
        "schema": {"type": "string", "enum": list(KINDS)},
        "example": "insufficient-stock",
    },
}

DESCRIPTION = """\
Holdfast keeps the stock of a flash sale: holds are made in Redis, all or nothing, and flushed to PostgreSQL.

For every SKU, always: `received = available + reserved + sold`, and no count is ever negative.

**Keys.** Send `Authorization: Bearer hf_…` or `X-API-Key: hf_…`. A storefront key makes and settles holds and reads
stock; an operator key may do everything.

**Asking twice is asking once.** `Idempotency-Key` is honoured on every POST. What succeeded is remembered for at least
24 hours, and its retry is answered the same with `Idempotent-Replayed: true`. A refusal changed nothing and is judged
afresh.

**Limits.** Where this shop limits how often a key, or a customer that is named, may ask, every answer tells in
`RateLimit-Policy` and `RateLimit` how that stands. What was answered 429 had no effect; `Retry-After` tells how long to
wait.

**Problems** are `application/problem+json` with a stable `code`.
"""


class DocumentationRouter(Router):
    """Litestar brings a page of its own for paths that do not exist; here they are answered like all others."""

    def register(self, value: Any) -> list[BaseRoute]:
        if isinstance(value, HTTPRouteHandler) and any("{path:str}" in path for path in value.paths):
            return []
        return super().register(value)


class Document(OpenAPIRenderPlugin):
    """The document at /openapi.json."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        return msgspec.json.encode(document(request.app))


class Page(OpenAPIRenderPlugin):
    """The page at /docs, and at the root."""

    def __init__(self) -> None:
        super().__init__(path="/docs", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        return _page(request.app)


@get(
    "/problems/{code:str}",
    opt=allow("open"),
    status_code=302,
    summary="What a problem's type means",
    responses=problems("not-found"),
)
async def explain_problem(code: FromPath[str]) -> Redirect:
    """Where the documentation explains a problem; the `type` of every problem leads here."""
    if code not in KINDS:
        raise ProblemRaised(problem("not-found", "No problem has this code."))
    return Redirect(f"/docs#problem-{code}", status_code=302)


router = Router("/", route_handlers=[explain_problem], tags=["Operations"])


def config() -> OpenAPIConfig:
    """How Litestar makes the document, and where it is served."""
    return OpenAPIConfig(
        title="Holdfast",
        version=VERSION,
        description=DESCRIPTION,
        license=License(name="MIT", identifier="MIT"),
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="An API key, `hf_…`"),
                "apiKey": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
        tags=[
            Tag("Stock", description="The counts of every SKU"),
            Tag("Holds", description="Time-limited claims that end exactly once"),
            Tag("Catalogue", description="Categories, products and their variants"),
            Tag("Prices", description="What a unit costs for whom, and why"),
            Tag("Coupons", description="Codes that take something off an order"),
            Tag("Carts", description="What a shopper means to buy, held and priced"),
            Tag("Orders", description="What a checkout makes of a cart, and its way to the customer"),
            Tag("Operations", description="For those who run it"),
        ],
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        render_plugins=[Page(), Document()],
        openapi_router=DocumentationRouter(
            "/",
            route_handlers=[],
            include_in_schema=False,
            opt=allow("open"),
            response_headers={"Content-Security-Policy": content_security_policy(), "Cache-Control": "no-cache"},
        ),
    )


@cache
def document(app: Litestar) -> dict[str, Any]:
    """The OpenAPI 3.1 document: Litestar's, with the structs' own schemas, headers, security and examples."""
    raw = app.openapi_schema.to_schema()
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(raw))
    found["components"]["schemas"] = _schemas(app)
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in route.route_handler_map.items():
            operation = found["paths"].get(route.path_format, {}).get(method.lower())
            if operation is not None:
                _complete(operation, handler, found["components"]["schemas"])
    return found


@cache
def _page(app: Litestar) -> bytes:
    return render_page(document(app))


def _schemas(app: Litestar) -> dict[str, Any]:
    """What msgspec checks is what the document says."""
    kinds: dict[str, Any] = {}
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            told = [
                handler.parsed_return_field.annotation,
                *(f.annotation for f in handler.parsed_return_field.inner_types),
            ]
            if handler.parsed_data_field is not None:
                told.append(handler.parsed_data_field.annotation)
            told.extend(spec.data_container for spec in (handler.responses or {}).values())
            kinds |= {kind.__name__: kind for kind in told if isinstance(kind, type) and issubclass(kind, Struct)}
    _, schemas = msgspec.json.schema_components(kinds.values(), ref_template=SCHEMA_REF)
    schemas["HoldView"]["examples"] = [HOLD_EXAMPLE]
    schemas["RuleRequest"]["examples"] = [RULE_EXAMPLE]
    schemas["ItemRequest"]["examples"] = [ITEM_EXAMPLE]
    schemas["CouponRequest"]["examples"] = [COUPON_EXAMPLE]
    return dict(sorted(schemas.items()))


def _complete(operation: dict[str, Any], handler: HTTPRouteHandler, schemas: dict[str, Any]) -> None:
    is_open = handler.opt["scope"] == "open"
    operation["security"] = [] if is_open else [{"bearer": []}, {"apiKey": []}]
    if not is_open:
        operation["description"] = f"{operation['description']}\n\nKey: {handler.opt['scope']}."
    _complete_parameters(operation.setdefault("parameters", []), handler)
    if "requestBody" in operation:
        operation["requestBody"]["required"] = handler.opt.get("body") != "optional"
        _give_examples(operation["requestBody"], schemas)
    operation["responses"].get("204", {}).pop("content", None)
    for status, response in operation["responses"].items():
        _give_examples(response, schemas, handler.opt.get("example"))
        if status.startswith("2"):
            response["description"] = _described(response, schemas)
        headers = _headers(status, handler)
        if headers:
            response["headers"] = headers


def _complete_parameters(parameters: list[dict[str, Any]], handler: HTTPRouteHandler) -> None:
    for parameter in parameters:
        if parameter["in"] == "path":
            parameter.update(PATH_PARAMETERS[parameter["name"]])
        else:
            parameter["schema"] = _without_null(parameter["schema"])
    asked = handler.opt.get("idempotency")
    if asked is not None:
        parameters.append(_key_parameter(is_required=asked == "required"))
    if handler.opt.get("if_match"):
        parameters.append(_IF_MATCH)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that may be left out, which is not the same as null: a query has only texts."""
    match schema:
        case {"oneOf": [inner, {"type": "null"}], **rest}:
            return {**inner, **rest}
    return schema


def _give_examples(body: dict[str, Any], schemas: dict[str, Any], members: dict[str, Any] | None = None) -> None:
    for kind, content in body.get("content", {}).items():
        for example in content.get("examples", {}).values():
            example.pop("id", None)  # it is the example's name already, and no field of OpenAPI's
        if kind == JSON and "examples" not in content:
            content["example"] = example_of(content["schema"], schemas)
            if members is not None:
                content["example"] = content["example"] | members


def _headers(status: str, handler: HTTPRouteHandler) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if status.startswith("2") and "idempotency" in handler.opt:
        schema = {"type": "string", "const": "true"}
        found[REPLAYED_HEADER] = {"description": "`true` when this answers a retry", "schema": schema}
    if status.startswith("2") and handler.opt.get("etag"):
        found["ETag"] = _ETAG
    if status in ("429", "503") and handler.opt["scope"] != "open":
        found["Retry-After"] = {"description": "Seconds to wait", "schema": {"type": "integer"}}
    if status == "429":
        found |= HEADER_DOCUMENTATION
    return found


def _described(response: dict[str, Any], schemas: dict[str, Any]) -> str:
    """What the answer's struct says of itself."""
    if "content" not in response:
        return str(response["description"])
    schema = response["content"].get(JSON, {}).get("schema", {})
    told: str = schemas.get(schema.get("$ref", "").rpartition("/")[2], {}).get("description", "As asked.")
    return told


_ETAG = {
    "description": "Names this state, for If-Match",
    "schema": {"type": "string"},
    "example": '"42"',
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag that was read: the change happens in that state only; `*` or nothing: in any",
    "schema": {"type": "string"},
    "example": '"42"',
}


_KEY_PATTERN = r'^(?!""$)[!-~]([ -~]*[!-~])?$'


def _key_parameter(*, is_required: bool) -> dict[str, Any]:
    return {
        "name": HEADER,
        "in": "header",
        "required": is_required,
        "description": "Makes a retry safe: the same key and payload get the first answer again",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": _KEY_PATTERN},
        "example": "3f1c9a52-order-536365",
    }


def example_of(schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """An example made of the examples of the schema's parts; optional parts without one are left out."""
    given = schema.get("examples") or schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if given:
        return given[0]
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth + 1)
    if depth > MAX_EXAMPLE_DEPTH:
        raise RecursionError("a schema that holds itself has no example")
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas, depth + 1)
    match schema.get("type"):
        case "object":
            return _example_object(schema, schemas, depth)
        case "array":
            return [example_of(schema["items"], schemas, depth + 1)]
        case kind:
            return {"string": "string", "integer": 1, "number": 0.5, "boolean": True}.get(str(kind))


def _example_object(schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> dict[str, Any]:
    required = schema.get("required", [])
    return {
        name: example_of(part, schemas, depth + 1)
        for name, part in schema.get("properties", {}).items()
        if name in required or _has_example(part)
    }


def _has_example(schema: dict[str, Any]) -> bool:
    return any(_has_example(part) for part in schema.get("anyOf", ())) or bool(schema.get("examples"))
