"""Problems: every refusal and fault as an RFC 9457 answer. The only place that gives refusals their HTTP numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import UNSET, Meta, Struct, UnsetType

from api.messages.field_messages import in_words
from engine.errors import Unavailable
from engine.holds import HoldStatus
from engine.orders import ID_PREFIX as ORDER_PREFIX

log = logging.getLogger("holdfast.api")

MEDIA_TYPE = "application/problem+json"
MAX_INSTANCE_LENGTH = 500
MAX_MESSAGE_LENGTH = 300
EMPTY_BODY = "the body is empty; a JSON object is expected"


class Kind(Struct, frozen=True):
    """What a code stands for: its status, its title, and when it is answered."""

    status: int
    title: str
    when: str


KINDS: dict[str, Kind] = {
    "validation-failed": Kind(400, "The request is not valid", "Malformed JSON, a wrong type, a value out of range."),
    "idempotency-key-required": Kind(400, "An Idempotency-Key is required", "The call must be safe to repeat."),
    "unauthenticated": Kind(401, "No valid API key", "No key was sent, or one that is unknown or revoked."),
    "forbidden": Kind(403, "This is not allowed", "A storefront key on an operator route, or another customer's cart."),
    "not-found": Kind(404, "There is nothing here", "No route has this path."),
    "unknown-sku": Kind(404, "Unknown SKU", "No stock was ever created for a SKU."),
    "unknown-hold": Kind(404, "Unknown hold", "No hold has this id, or it ended long ago."),
    "unknown-category": Kind(404, "Unknown category", "No category has this id."),
    "unknown-cart": Kind(404, "Unknown cart", "No cart has this id, or its life was over."),
    "unknown-cart-item": Kind(404, "Not in the cart", "The cart has no line of this SKU."),
    "unknown-order": Kind(404, "Unknown order", "No order has this id."),
    "unknown-coupon": Kind(404, "Unknown coupon", "No coupon has this code."),
    "unknown-product": Kind(404, "Unknown product", "No product has this id."),
    "unknown-rule": Kind(404, "Unknown pricing rule", "No pricing rule has this id."),
    "unknown-variant": Kind(404, "Unknown variant", "No variant has this id."),
    "method-not-allowed": Kind(405, "Method not allowed", "The path exists; Allow names its methods."),
    "insufficient-stock": Kind(409, "Not enough stock", "Nothing was reserved; `lines` names what fell short."),
    "customer-limit-exceeded": Kind(409, "Customer limit exceeded", "More units than one customer may have."),
    "cart-empty": Kind(409, "The cart is empty", "There is nothing to order."),
    "cart-full": Kind(409, "The cart is full", "It has as many lines as a cart may have."),
    "cart-ordered": Kind(409, "The cart was ordered", "It became an order; see `order_id`."),
    "cart-merged": Kind(409, "The cart was merged", "Its lines are in another cart now."),
    "payment-pending": Kind(409, "A payment is pending", "The cart waits for the payment of an order; see `order_id`."),
    "currency-mismatch": Kind(409, "Another currency", "A cart has one currency."),
    "product-discontinued": Kind(409, "No longer sold", "`lines` names what the shop does not sell now."),
    "price-changed": Kind(409, "Prices changed", "`lines` names what costs another price than was shown."),
    "coupon-not-applicable": Kind(409, "The coupon does not apply", "`reason` tells why it takes nothing off."),
    "coupon-limit-reached": Kind(409, "The coupon is used up", "By all customers together, or by this one."),
    "transition-not-allowed": Kind(409, "Transition not allowed", "The order's lifecycle does not go there."),
    "hold-not-live": Kind(409, "The hold is no longer live", "It was committed or released; see `hold_status`."),
    "sku-exists": Kind(409, "The SKU exists", "Its count changes through adjustments."),
    "coupon-exists": Kind(409, "The coupon exists", "Another coupon has its code, in some case of letters."),
    "slug-exists": Kind(409, "The slug exists", "Another category has it."),
    "category-in-use": Kind(409, "The category is in use", "It has products, or categories below it."),
    "request-timeout": Kind(408, "The request came too slowly", "Its head or body did not arrive in time."),
    "hold-expired": Kind(410, "The hold expired", "Its time was over; nothing was sold."),
    "precondition-failed": Kind(412, "Changed by somebody else", "If-Match names another state than it is in."),
    "body-too-large": Kind(413, "The body is too large", "The body passes the route's limit."),
    "idempotency-key-reused": Kind(422, "The Idempotency-Key was used before", "Another payload needs a new key."),
    "rate-limited": Kind(429, "Too many requests", "Of the API key, or for the customer; see Retry-After."),
    "head-too-large": Kind(431, "The head is too large", "The request line and headers pass their limits."),
    "internal-error": Kind(500, "Internal error", "A fault of ours; the log has it under the request's id."),
    "unavailable": Kind(503, "Unavailable for now", "Nothing can be promised right now; see Retry-After."),
}
COMMON_CODES = ("validation-failed", "internal-error", "unavailable")
PROTECTED_CODES = ("unauthenticated", "forbidden", "rate-limited")


class FieldError(Struct, frozen=True):
    """What is wrong with one field of a request."""

    field: Annotated[str, Meta(description="Path of the field; empty for the body itself", examples=["lines[0].sku"])]
    message: Annotated[str, Meta(examples=["required field is missing"])]


class ProblemLine(Struct, frozen=True):
    """A line that stood in the way."""

    sku: Annotated[str, Meta(examples=["85123A"])]
    requested: Annotated[int, Meta(examples=[6])] | UnsetType = UNSET
    available: Annotated[int, Meta(description="With insufficient-stock", examples=[2])] | UnsetType = UNSET
    customer_limit: Annotated[int, Meta(description="With customer-limit-exceeded")] | UnsetType = UNSET
    shown_price: Annotated[int, Meta(description="Of a unit, with price-changed")] | UnsetType = UNSET
    price: Annotated[int, Meta(description="Of a unit now, with price-changed")] | UnsetType = UNSET


class Problem(Struct, frozen=True, kw_only=True):
    """An RFC 9457 problem. `code` is stable; the further members come with the codes that need them."""

    type: Annotated[str, Meta(description="URI reference of the code", extra_json_schema={"format": "uri-reference"})]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="The path asked for")] | UnsetType = UNSET
    code: Annotated[str, Meta(description="Stable name of the problem", extra_json_schema={"enum": list(KINDS)})]
    errors: Annotated[tuple[FieldError, ...], Meta(description="With validation-failed")] | UnsetType = UNSET
    lines: Annotated[tuple[ProblemLine, ...], Meta(description="The lines that failed")] | UnsetType = UNSET
    hold_status: Annotated[HoldStatus, Meta(description="With hold-not-live")] | UnsetType = UNSET
    reason: Annotated[str, Meta(description="With coupon-not-applicable")] | UnsetType = UNSET
    order_id: Annotated[str, Meta(description="With cart-ordered and payment-pending")] | UnsetType = UNSET
    retry_after_s: Annotated[int, Meta(description="With rate-limited and unavailable, as Retry-After")] | UnsetType = (
        UNSET
    )


class ProblemRaised(Exception):
    """Ends a request with a problem, where the framework leaves no way to return one."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.headers = dict(headers or {})


def problem(code: str, detail: str, **members: Any) -> Problem:
    """A problem of this code; `members` are its further fields."""
    kind = KINDS[code]
    return Problem(type=f"/problems/{code}", title=kind.title, status=kind.status, detail=detail, code=code, **members)


def invalid(field: str, message: str) -> Problem:
    """The problem of one field of a request."""
    where = f"{field}: {message}" if field else message
    return problem("validation-failed", where, errors=(FieldError(field, message),))


def unavailable(error: Unavailable) -> ProblemRaised:
    """A 503 that says why; what follows a colon in the reason is for the log only (addresses, errors of servers)."""
    headers = {"Retry-After": str(error.retry_after_s)}
    told = problem("unavailable", public_reason(error.reason) + ".", retry_after_s=error.retry_after_s)
    return ProblemRaised(told, headers)


def public_reason(reason: str) -> str:
    """The part of a reason that anybody may read."""
    return reason.partition(":")[0]


def problem_of_exception(error: Exception, parameters: Mapping[str, Any] | None = None) -> ProblemRaised:  # noqa: PLR0911 - one a kind of error
    """Whatever ended a request, as a problem; what nobody expected is logged and says nothing of our insides.

    `parameters` are the types of the route's.
    """
    match error:
        case ProblemRaised():
            return error
        case Unavailable():
            log.debug("unavailable: %s", error.reason)  # the guard and the probe tell it once, not a request at a time
            return unavailable(error)
        case NotFoundException():
            return ProblemRaised(problem("not-found", "No route has this path."))
        case MethodNotAllowedException():
            allowed = (error.headers or {}).get("allow", "")
            return ProblemRaised(problem("method-not-allowed", f"Allowed here: {allowed}."), {"Allow": allowed})
        case ValidationException():
            return ProblemRaised(_invalid_parameters(error, parameters or {}))
        case ClientException():
            return ProblemRaised(invalid("", error.detail[:MAX_MESSAGE_LENGTH]))
        case HTTPException(status_code=500) if "disconnected" in error.detail:
            return ProblemRaised(invalid("", "the connection ended before the body did"))
    log.error("internal error", exc_info=error)
    return ProblemRaised(problem("internal-error", "Something went wrong here. The log has it under the request's id."))


def answer_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Litestar's exception handler for everything."""
    is_parameter = isinstance(error, ValidationException)
    raised = problem_of_exception(error, _parameters_of(request) if is_parameter else None)
    return problem_response(raised.problem, request.scope["path"], raised.headers)


def _parameters_of(request: Request[Any, Any, Any]) -> dict[str, Any]:
    handler: Any = request.scope.get("route_handler")
    if handler is None:
        return {}
    return {name: field.annotation for name, field in handler.parsed_fn_signature.parameters.items()}


def problem_response(problem: Problem, path: str, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """The problem as an answer to a request for `path`."""
    return Response(
        encode_problem(problem, path), status_code=problem.status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


@lru_cache(maxsize=256)
def encode_problem(problem: Problem, path: str) -> bytes:
    """The body of a problem answered at `path`. Cached, since in a drop they are all alike."""
    instance = quote(path[:MAX_INSTANCE_LENGTH], safe="/:@!$&'()*+,;=~")
    return msgspec.json.encode(msgspec.structs.replace(problem, instance=instance))


def problems(*codes: str) -> dict[int, ResponseSpec]:
    """How OpenAPI describes a route's refusals: these codes and the common ones, by status, with an example each."""
    by_status: dict[int, list[str]] = {}
    for code in (*codes, *COMMON_CODES):
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {
        status: ResponseSpec(
            Problem,
            media_type=MEDIA_TYPE,
            generate_examples=False,
            description="; ".join(f"`{code}`: {KINDS[code].when}" for code in of_status),
            examples=[Example(id=code, summary=KINDS[code].title, value=example_problem(code)) for code in of_status],
        )
        for status, of_status in by_status.items()
    }


def example_problem(code: str) -> dict[str, Any]:
    """A problem of this code, for the documentation."""
    members: dict[str, Any] = {}
    match code:
        case "validation-failed":
            members["errors"] = (FieldError("lines[0].quantity", "Expected `int` >= 1"),)
        case "insufficient-stock":
            members["lines"] = (ProblemLine("85123A", 6, available=2),)
        case "customer-limit-exceeded":
            members["lines"] = (ProblemLine("85123A", 6, customer_limit=4),)
        case "hold-not-live":
            members["hold_status"] = HoldStatus.RELEASED
        case "price-changed":
            members["lines"] = (ProblemLine("85123A", shown_price=1990, price=2190),)
        case "product-discontinued":
            members["lines"] = (ProblemLine("85123A"),)
        case "coupon-not-applicable":
            members["reason"] = "minimum-not-reached"
        case "cart-ordered" | "payment-pending":
            members["order_id"] = ORDER_PREFIX + "3q2-7wEAAAAAAAAAAAAAAA-51b2"
    found: dict[str, Any] = msgspec.to_builtins(problem(code, KINDS[code].when, instance="/api/v1/…", **members))
    return found


def _invalid_parameters(error: ValidationException, parameters: Mapping[str, Any]) -> Problem:
    extra = error.extra if isinstance(error.extra, list) else []
    told = [
        (str(part.get("key", "")), str(part.get("message", "not valid"))) for part in extra if isinstance(part, dict)
    ]
    found = tuple(
        FieldError(name, in_words(message, parameters.get(name, str))[:MAX_MESSAGE_LENGTH]) for name, message in told
    )
    if not found:
        return invalid("", "a parameter is missing or not valid")
    if any(part.field == "data" for part in found):
        return invalid("", EMPTY_BODY)
    return problem("validation-failed", "; ".join(f"{part.field}: {part.message}" for part in found), errors=found)
