"""Hot routes: what the short way serves, by the same functions that Litestar's routes call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from api import cart_items, carts, checkout, hold_batches, holds
from api.authentication import Caller
from api.bodies import decode_body
from api.errors import Problem
from api.idempotency import read_key, require
from api.replies import Reply
from api.resources import Resources

_BASE = "/api/v1/"


class Request(Struct, frozen=True):
    """What a hot route is told: who asks, the idempotency key as sent, the id in the path ("" without), the body."""

    caller: Caller
    key_header: bytes | None
    id: str
    body: bytes | bytearray

    @property
    def key(self) -> str | None:
        """The idempotency key, if one was sent. Raises ProblemRaised for one that cannot be used."""
        return None if self.key_header is None else read_key(self.key_header)


class HotRoute(Struct, frozen=True):
    """A route of the short way: its template, what serves it, and whether it takes the bodies of batches."""

    template: str
    serve: Callable[[Resources, Request], Awaitable[Reply | Problem]]
    is_batch: bool = False


async def _place(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(holds.HoldRequest, request.body)
    return await holds.place(resources, request.caller, request.key, wanted)


async def _place_many(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(hold_batches.BatchRequest, request.body)
    return await hold_batches.place(resources, request.caller, request.key, wanted)


async def _commit(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(holds.CommitRequest, request.body) if request.body else holds.NO_REFERENCE
    return await holds.commit(resources, request.caller, request.key, request.id, wanted)


async def _open_cart(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(carts.CartRequest, request.body) if request.body else carts.NOBODY
    return await carts.open_cart(resources, request.caller, request.key, wanted)


async def _add_item(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(cart_items.ItemRequest, request.body)
    return await cart_items.add(resources, request.caller, request.key, request.id, wanted)


async def _check_out(resources: Resources, request: Request) -> Reply | Problem:
    wanted = decode_body(checkout.CartCheckout, request.body) if request.body else checkout.AS_USUAL
    return await checkout.check_out(resources, request.caller, require(request.key), request.id, wanted)


_PLAIN = {
    "/api/v1/holds": HotRoute("/api/v1/holds", _place),
    "/api/v1/holds/batch": HotRoute("/api/v1/holds/batch", _place_many, is_batch=True),
    "/api/v1/carts": HotRoute("/api/v1/carts", _open_cart),
}
_OF_ONE = {
    ("holds", "commit"): HotRoute("/api/v1/holds/{hold_id}/commit", _commit),
    ("carts", "items"): HotRoute("/api/v1/carts/{cart_id}/items", _add_item),
    ("carts", "checkout"): HotRoute("/api/v1/carts/{cart_id}/checkout", _check_out),
}
"""By noun and verb of a path /api/v1/<noun>/<id>/<verb>."""


def find_hot(method: str, path: str) -> tuple[HotRoute, str] | None:
    """The hot route of a request and the id in its path; None when Litestar serves it."""
    if method != "POST":
        return None
    plain = _PLAIN.get(path)
    if plain is not None:
        return plain, ""
    if not path.startswith(_BASE):
        return None
    noun, _, rest = path[len(_BASE) :].partition("/")
    of, _, verb = rest.partition("/")
    found = _OF_ONE.get((noun, verb))
    return (found, of) if found is not None and of else None
