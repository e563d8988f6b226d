"""Trades: one atomic step that changes carts and orders together with the stock that they hold and sell."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec import Struct

from engine.idempotency import fresh_token
from engine.keys import Keys
from engine.memories import remembered

RecordKind = Literal["cart", "order", "customer"]
"""`customer` is the pointer from a customer to the live cart."""


class Made(Struct, frozen=True, gc=False):
    """A hold to be made of one line; `is_sold` sells it in the same step. Times are ms since 1970 by Redis' clock."""

    sku: str
    quantity: int
    customer_id: str | None
    created_ms: int
    expires_ms: int
    is_sold: bool = False
    token: str = msgspec.field(default_factory=fresh_token)


class Put(Struct, frozen=True, gc=False):
    """A record to be written: JSON that begins with its version, kept for `keep_ms`; 0 removes it."""

    kind: RecordKind
    token: str
    text: bytes
    keep_ms: int


class Known(Struct, frozen=True, gc=False):
    """The version of a record that the trade was judged by; 0: there is none."""

    kind: RecordKind
    token: str
    version: int


class Counted(Struct, frozen=True, gc=False):
    """Orders that a coupon is counted for, more by `by` (or fewer); `customer_id` None counts those of all together."""

    coupon_id: str
    by: int
    limit: int | None = None
    customer_id: str | None = None


class Returned(Struct, frozen=True, gc=False):
    """Units that were sold and come back to the shelf."""

    sku: str
    quantity: int
    customer_id: str | None


class Remember(Struct, frozen=True, gc=False):
    """What a retry under the same idempotency key is answered: JSON."""

    token: str
    fingerprint: str
    answer: bytes


class Trade(Struct, frozen=True, gc=False, kw_only=True):
    """All of it happens, or nothing.

    `known` are the records that it was judged by; `ended` are holds to give back where they still live, `sold` holds to
    sell, which must still live. `reference` and `reason` are for the ledger. A window is the end of the time in which
    an order's payment must settle, in ms; 0 ends the waiting.
    """

    known: tuple[Known, ...] = ()
    ended: tuple[str, ...] = ()
    sold: tuple[str, ...] = ()
    made: tuple[Made, ...] = ()
    returned: tuple[Returned, ...] = ()
    counted: tuple[Counted, ...] = ()
    put: tuple[Put, ...] = ()
    window: tuple[str, int] | None = None
    remember: Remember | None = None
    reference: str = ""
    reason: str = ""

    @property
    def makes_more_holds(self) -> bool:
        """Whether it makes more holds than it ends, each of which is a record in Redis' memory."""
        return len(self.made) > len(self.ended)


class Traded(Struct, frozen=True, gc=False):
    """It happened, at this moment of Redis' clock."""

    now_ms: int


class Replayed(Struct, frozen=True, gc=False):
    """It had happened before, under the same idempotency key, and this is the memory of it."""

    memory: str


class Changed(Struct, frozen=True, gc=False):
    """Nothing happened: a record is no longer the one that the trade was judged by."""


def arguments_of(trade: Trade, keys: Keys, swept: int = 0) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The keys and the arguments of a trade, as lua/trade.lua reads them."""
    places: dict[str, int] = {}
    place = places.setdefault
    hold, record = keys.hold_prefix, keys.record_prefixes
    memory, remember = None, trade.remember
    if remember is not None:
        text = remembered(remember.fingerprint, remember.answer)
        memory = (place(keys.memory(remember.token), len(places)), remember.fingerprint, text)
    known: list[int] = []
    for each in trade.known:
        known += (place(record[each.kind] + each.token, len(places)), each.version)
    ended = [place(hold + token, len(places)) for token in trade.ended] if trade.ended else None
    sold = [place(hold + token, len(places)) for token in trade.sold] if trade.sold else None
    made: list[Any] = []
    for claim in trade.made:
        made += (place(hold + claim.token, len(places)), *_made(claim))
    returned: list[Any] = []
    for units in trade.returned:
        returned += (units.sku, units.quantity, units.customer_id or "")
    counted: list[Any] = []
    for count in trade.counted:
        counted += (count_field(count.coupon_id, count.customer_id), count.by, count.limit or 0)
    put: list[Any] = []
    for written in trade.put:
        at = place(record[written.kind] + written.token, len(places))
        put += (at, written.keep_ms, written.kind, written.text.decode())
    lists = (known or None, ended, sold, made or None, returned or None, counted or None, put or None, trade.window)
    return tuple(places), (swept, trade.reference, trade.reason, memory, *lists)


def count_field(coupon_id: str, customer_id: str | None = None) -> str:
    """Where the orders of a coupon are counted: all of them, or those of one customer."""
    return coupon_id if customer_id is None else f"{coupon_id}|{customer_id}"


def _made(made: Made) -> tuple[Any, ...]:
    """A hold to be made: what is judged by, then what its record and its event are put together from, as JSON."""
    customer = made.customer_id or ""
    times = msgspec.json.encode((customer, made.created_ms, made.expires_ms)).decode()[1:-1]
    lines, life_ms = _lines_text(made.sku, made.quantity), made.expires_ms - made.created_ms
    return (customer, made.expires_ms, life_ms, made.sku, made.quantity, int(made.is_sold), times, lines)


@lru_cache(maxsize=4_096)
def _lines_text(sku: str, quantity: int) -> str:
    """What a hold of one line claims, as JSON. Cached, since what sells well is claimed again and again."""
    return msgspec.json.encode(((sku, quantity),)).decode()
