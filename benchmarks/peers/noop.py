"""`noop`: decodes the same bodies with msgspec, does nothing, and encodes answers of the same shape: the ceiling."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.peers.bodies import (
    BatchAnswer,
    BatchBody,
    BatchItem,
    CartAnswer,
    CartBody,
    CheckoutBody,
    CommitBody,
    HoldAnswer,
    HoldBody,
    ItemAnswer,
    ItemBody,
    Line,
    Moment,
    OrderAnswer,
    Payment,
    Refusal,
    ShortLine,
)
from benchmarks.peers.serving import arguments, serve

BASE = "/api/v1/"
SOLD_OUT = "gone"
"""SKUs that begin like this are refused."""
AT, UNTIL = "2026-01-02T03:04:05.678Z", "2026-01-02T03:14:05.678Z"
PRICE = 2_900

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Answer = tuple[int, Struct]

_hold = msgspec.json.Decoder(HoldBody).decode
_batch = msgspec.json.Decoder(BatchBody).decode
_commit = msgspec.json.Decoder(CommitBody).decode
_cart = msgspec.json.Decoder(CartBody).decode
_item = msgspec.json.Decoder(ItemBody).decode
_checkout = msgspec.json.Decoder(CheckoutBody).decode
_encode = msgspec.json.Encoder().encode


class Noop:
    """The application."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = itertools.count(1)
        self._serve: dict[tuple[str, str], Callable[[bytes, str], Answer]] = {
            ("holds", ""): self._place,
            ("holds", "batch"): self._place_all,
            ("holds", "commit"): self._sell,
            ("carts", ""): self._open,
            ("carts", "items"): self._add,
            ("carts", "checkout"): self._check_out,
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        for message in messages_of(*self.answer(scope["path"], await read(receive))):
            await send(message)

    def answer(self, path: str, content: bytes) -> Answer:
        """What a request is told."""
        noun, _, rest = path[len(BASE) :].partition("/")
        of, _, verb = rest.partition("/")
        answer = self._serve.get((noun, verb or ("batch" if of == "batch" else "")), _unknown)
        return answer(content, of)

    async def live(self, receive: Receive, send: Send) -> None:
        """From the server's start to its end."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _id(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers):022d}"

    def _place(self, content: bytes, _: str) -> Answer:
        body = _hold(content)
        if body.lines[0].sku.startswith(SOLD_OUT):
            short = [ShortLine(line.sku, line.quantity, 0) for line in body.lines]
            detail = "There is not enough of it."
            return 409, Refusal(
                "about:blank", "Insufficient stock", 409, detail, f"{BASE}holds", "insufficient-stock", short
            )
        return 201, HoldAnswer(self._id("hold_"), "held", body.lines, body.customer_id, AT, UNTIL)

    def _place_all(self, content: bytes, _: str) -> Answer:
        held = [
            HoldAnswer(self._id("hold_"), "held", body.lines, body.customer_id, AT, UNTIL)
            for body in _batch(content).holds
        ]
        return 200, BatchAnswer([BatchItem(201, hold) for hold in held])

    def _sell(self, content: bytes, hold_id: str) -> Answer:
        _commit(content)
        return 200, HoldAnswer(hold_id, "committed", [Line("sku", 1)], None, AT, UNTIL)

    def _open(self, content: bytes, _: str) -> Answer:
        return 201, _cart_answer(self._id("cart_"), _cart(content).customer_id, [])

    def _add(self, content: bytes, cart_id: str) -> Answer:
        body = _item(content)
        return 200, _cart_answer(cart_id, body.customer_id, [_item_answer(body.sku, body.quantity)])

    def _check_out(self, content: bytes, cart_id: str) -> Answer:
        body = _checkout(content)
        order = OrderAnswer(
            id=self._id("ord_"),
            cart_id=cart_id,
            customer_id=body.customer_id,
            status="created",
            items=[_item_answer("sku", 1)],
            subtotal=PRICE,
            discount=0,
            total=PRICE,
            currency="EUR",
            coupon=None,
            payment=Payment("succeeded", None, None),
            timeline=[Moment("created", AT)],
            tracking_number=None,
            refund_due=None,
            created_at=AT,
            updated_at=AT,
        )
        return 201, order


def _unknown(_: bytes, of: str) -> Answer:
    return 404, Refusal("about:blank", "Not found", 404, "There is nothing here.", of, "not-found", [])


def _item_answer(sku: str, quantity: int) -> ItemAnswer:
    return ItemAnswer(
        sku=sku,
        variant_id="var_0000000000000000000000",
        quantity=quantity,
        unit_price=PRICE,
        discount=0,
        final_price=PRICE,
        total_price=PRICE * quantity,
        applied_rules=[],
        reserved_until=UNTIL,
        status="held",
        price_changed=False,
    )


def _cart_answer(cart_id: str, customer_id: str | None, items: list[ItemAnswer]) -> CartAnswer:
    total = sum(item.total_price for item in items)
    return CartAnswer(
        id=cart_id,
        customer_id=customer_id,
        status="open",
        items=items,
        subtotal=total,
        discount=0,
        total=total,
        currency="EUR" if items else None,
        coupon=None,
        coupon_note=None,
        created_at=AT,
        expires_at=UNTIL,
        order_id=None,
    )


async def read(receive: Receive) -> bytes:
    """The body of a request."""
    message = await receive()
    content: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        content += message["body"]
    return content


def messages_of(status: int, body: Struct) -> tuple[dict[str, Any], dict[str, Any]]:
    """An answer as ASGI sends it."""
    content = _encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": content, "more_body": False},
    )


app = Noop()

if __name__ == "__main__":
    serve(app, arguments().fd)
