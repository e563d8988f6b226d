"""Hot routes: what the short way serves, by the same functions that Litestar's routes call."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Struct

from api import cart_items, carts, checkout, claims, hold_batches, holds
from api.access.authentication import Caller
from api.messages.bodies import decode_body
from api.messages.errors import Problem
from api.messages.idempotency import read_key, require
from api.messages.replies import Reply
from api.process.resources import Resources

_BASE = b"/api/v1/"
_PLAIN_ID = re.compile(rb"[A-Za-z0-9_-]+")


class Request(Struct, frozen=True, gc=False):
    """What a hot route is told: who asks, the idempotency key as sent, the id in the path ("" without), the body."""

    caller: Caller
    key_header: bytes | None
    id: str
    body: bytes | bytearray

    @property
    def key(self) -> str | None:
        """The idempotency key, if one was sent. Raises ProblemRaised for one that cannot be used."""
        return None if self.key_header is None else read_key(self.key_header)


Outcome: TypeAlias = Awaitable[Reply | Problem]


class HotRoute(Struct, frozen=True):
    """A route of the short way: its template, what serves it, and whether it takes the bodies of batches."""

    template: str
    serve: Callable[[Resources, Request], Outcome]
    is_batch: bool = False


def _place(resources: Resources, request: Request) -> Outcome:
    wanted = claims.wanted_of(request.body)
    return holds.place(resources, request.caller, request.key, wanted)


def _place_many(resources: Resources, request: Request) -> Outcome:
    wanted = decode_body(hold_batches.BatchRequest, request.body)
    return hold_batches.place(resources, request.caller, request.key, wanted)


def _commit(resources: Resources, request: Request) -> Outcome:
    wanted = decode_body(holds.CommitRequest, request.body) if request.body else holds.NO_REFERENCE
    return holds.commit(resources, request.caller, request.key, request.id, wanted)


def _open_cart(resources: Resources, request: Request) -> Outcome:
    wanted = decode_body(carts.CartRequest, request.body) if request.body else carts.NOBODY
    return carts.open_cart(resources, request.caller, request.key, wanted)


def _add_item(resources: Resources, request: Request) -> Outcome:
    wanted = decode_body(cart_items.ItemRequest, request.body)
    return cart_items.add(resources, request.caller, request.key, request.id, wanted)


def _check_out(resources: Resources, request: Request) -> Outcome:
    wanted = decode_body(checkout.CartCheckout, request.body) if request.body else checkout.AS_USUAL
    return checkout.check_out(resources, request.caller, require(request.key), request.id, wanted)


_PLAIN = {
    b"/api/v1/holds": HotRoute("/api/v1/holds", _place),
    b"/api/v1/holds/batch": HotRoute("/api/v1/holds/batch", _place_many, is_batch=True),
    b"/api/v1/carts": HotRoute("/api/v1/carts", _open_cart),
}
_OF_ONE = {
    (b"holds", b"commit"): HotRoute("/api/v1/holds/{hold_id}/commit", _commit),
    (b"carts", b"items"): HotRoute("/api/v1/carts/{cart_id}/items", _add_item),
    (b"carts", b"checkout"): HotRoute("/api/v1/carts/{cart_id}/checkout", _check_out),
}
"""By noun and verb of a path /api/v1/<noun>/<id>/<verb>."""


def find_hot(method: bytes, url: bytes) -> tuple[HotRoute, str] | None:
    """The hot route of a request, by its target as sent, and the id in it; None when Litestar serves it."""
    if method != b"POST":
        return None
    plain = _PLAIN.get(url)
    if plain is not None:
        return plain, ""
    if not url.startswith(_BASE):
        return None
    noun, _, rest = url[len(_BASE) :].partition(b"/")
    of, _, verb = rest.partition(b"/")
    found = _OF_ONE.get((noun, verb))
    # What is escaped takes Litestar's way.
    return (found, of.decode()) if found is not None and _PLAIN_ID.fullmatch(of) else None
