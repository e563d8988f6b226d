"""Events: what the scripts tell of each change, in order, so that PostgreSQL can be derived from them alone.

A stream entry holds the events of one batch, of one kind; those of a batch of trades are of several. Its id
is `<epoch>-<seq of its last event>`, counted by the script.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct
from redis.asyncio import Redis

from engine.carts import CartRecord
from engine.errors import HoldfastError
from engine.keys import Keys
from engine.orders import OrderRecord

MAX_CLAIMED = 2**31 - 1  # what PostgreSQL shows of a line as an integer
MAX_AT_MS = 253_402_300_799_999  # the end of the year 9999, where PostgreSQL's and Python's calendars both still go

Kind = Literal["reserve", "commit", "release", "extend", "expire", "adjust", "return", "cart", "order"]
Lines = tuple[tuple[str, int], ...]
Claims = tuple[tuple[str, Annotated[int, Meta(ge=1, le=MAX_CLAIMED)]], ...]
MIXED = "trade"
"""The kind of an entry whose events are of several kinds, each told as [kind, body]."""


class Reserved(Struct, frozen=True, array_like=True, gc=False):
    """Emitted by reserve.lua; `customer` is "" for a guest."""

    token: str
    customer: str
    created_ms: int
    expires_ms: int
    fingerprint: str
    lines: Claims


class Committed(Struct, frozen=True, array_like=True, gc=False):
    """Emitted by commit.lua."""

    token: str
    reference: str
    lines: Lines


class Released(Struct, frozen=True, array_like=True, gc=False):
    """Emitted by release.lua."""

    token: str
    lines: Lines


class Expired(Struct, frozen=True, array_like=True, gc=False):
    """Emitted by expire.lua."""

    token: str
    lines: Lines


class Extended(Struct, frozen=True, array_like=True, gc=False):
    """Emitted by extend.lua."""

    token: str
    expires_ms: int


class Adjusted(Struct, frozen=True, array_like=True, gc=False):
    """Emitted by adjust.lua; `customer_limit` 0 is none."""

    sku: str
    delta: int
    reason: str
    reference: str
    create: Literal[0, 1]
    customer_limit: int


class Returned(Struct, frozen=True, array_like=True, gc=False):
    """Units that were sold and came back, emitted by trade.lua; `reference` is the order, `customer` "" for a guest."""

    reference: str
    reason: str
    customer: str
    lines: Lines


class CartChanged(Struct, frozen=True, array_like=True, gc=False):
    """A cart as it is now, emitted by trade.lua."""

    token: str
    record: CartRecord


class OrderChanged(Struct, frozen=True, array_like=True, gc=False):
    """An order as it is now, emitted by trade.lua."""

    token: str
    record: OrderRecord


Body = Reserved | Committed | Released | Expired | Extended | Adjusted | Returned | CartChanged | OrderChanged
BODIES: dict[Kind, type[Body]] = {
    "reserve": Reserved,
    "commit": Committed,
    "release": Released,
    "extend": Extended,
    "expire": Expired,
    "adjust": Adjusted,
    "return": Returned,
    "cart": CartChanged,
    "order": OrderChanged,
}
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(BODIES[kind]) for kind in get_args(Kind)}
_RUN_DECODERS: dict[str, msgspec.json.Decoder[list[Any]]] = {
    kind: msgspec.json.Decoder(list[BODIES[kind]])  # type: ignore[valid-type]
    for kind in get_args(Kind)
}
_KINDS: dict[type[Body], Kind] = {body: kind for kind, body in BODIES.items()}
_ANY_TOLD: Any = reduce(
    or_,
    [
        msgspec.defstruct("Told", [("body", body)], tag=kind, array_like=True, forbid_unknown_fields=True, gc=False)
        for kind, body in BODIES.items()
    ],
)
"""An event of any kind, as an entry of several kinds tells it: so all of them are read at once."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_events = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_told: Callable[[str], list[Any]] = msgspec.json.Decoder(list[_ANY_TOLD]).decode
_decode_mixed = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]]).decode
_decode_memories = msgspec.json.Decoder(list[tuple[str, str]]).decode


class Event(Struct, frozen=True, gc=False):
    """One change at its place in the log; `at_ms` is Redis' clock."""

    epoch: int
    seq: int
    at_ms: int
    kind: Kind
    body: Body


class Poison(Struct, frozen=True):
    """Something in the log that cannot be read or applied, as text, and why. `kind` is "entry" for a whole entry."""

    epoch: int
    seq: int
    at_ms: int
    kind: str
    payload: str
    reason: str


class Entry(Struct, frozen=True):
    """One stream entry: the events `first_seq` to `last_seq`, and the memories made with them (token, JSON).

    `first_seq` is None when the entry cannot even say how many events it holds.
    """

    epoch: int
    first_seq: int | None
    last_seq: int
    events: tuple[Event | Poison, ...]
    memories: tuple[tuple[str, str], ...]
    at_ms: int


class LogGap(HoldfastError):
    """The log does not go on where PostgreSQL's offset ends: events are missing, and nothing after them is applied."""


def read_event(epoch: int, seq: int, at_ms: int, kind: str, payload: bytes) -> Event | Poison:
    """Read one event; what does not fit its kind is Poison."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return Poison(epoch, seq, at_ms, kind, payload.decode(errors="replace"), f"no event is of kind {kind!r}")
    try:
        return Event(epoch, seq, at_ms, kind, decoder.decode(payload))  # type: ignore[arg-type]
    except _UNREADABLE as error:
        return Poison(epoch, seq, at_ms, kind, payload.decode(errors="replace"), str(error))


def read_entry(entry_id: str, fields: dict[str, str]) -> Entry:
    """Read one stream entry; whatever in it cannot be read is Poison."""
    epoch, last_seq = (int(part) for part in entry_id.split("-"))
    try:
        kind, at_ms, count = fields["kind"], int(fields["at"]), int(fields["n"])
        memories = tuple(_decode_memories(fields["memories"])) if "memories" in fields else ()
        bodies = _bodies(kind, fields["events"])
        told = _told(kind, fields["events"]) if bodies is None else ()
    except (KeyError, ValueError, msgspec.DecodeError, RecursionError) as error:
        return _unreadable(epoch, last_seq, fields, repr(error))
    if not 0 <= at_ms <= MAX_AT_MS:
        return _unreadable(epoch, last_seq, fields, f"no calendar has a time of {at_ms} ms")
    found = len(told if bodies is None else bodies)
    if found != count or not found:
        return _unreadable(epoch, last_seq, fields, f"{count} events announced, {found} found")
    first = last_seq - count + 1
    events: list[Event | Poison]
    if bodies is None:
        events = [read_event(epoch, seq, at_ms, of, bytes(part)) for seq, (of, part) in enumerate(told, first)]
    else:
        events = [Event(epoch, seq, at_ms, _KINDS[type(body)], body) for seq, body in enumerate(bodies, first)]
    return Entry(epoch, first, last_seq, tuple(events), memories, at_ms)


def _bodies(kind: str, events: str) -> list[Body] | None:
    """All events of an entry, at once; None where that cannot be and each is to be read for itself."""
    decoder = _RUN_DECODERS.get(kind)
    try:
        if kind == MIXED:
            return [told.body for told in _decode_told(events)]
        return None if decoder is None else decoder.decode(events)
    except _UNREADABLE:
        return None


def _told(kind: str, events: str) -> list[tuple[str, msgspec.Raw]]:
    if kind == MIXED:
        return _decode_mixed(events)
    return [(kind, raw) for raw in _decode_events(events)]


def _unreadable(epoch: int, last_seq: int, fields: dict[str, str], reason: str) -> Entry:
    whole = Poison(epoch, last_seq, 0, "entry", msgspec.json.encode(fields).decode(), f"unreadable entry: {reason}")
    return Entry(epoch, None, last_seq, (whole,), (), 0)


async def entries_after(
    redis: Redis, keys: Keys, epoch: int, seq: int, max_entries: int, block_ms: int | None = None
) -> list[Entry]:
    """The entries after event (`epoch`, `seq`), in order; waits up to `block_ms` for a first one."""
    answer: Any = await redis.xread({keys.events: f"{epoch}-{seq}"}, count=max_entries, block=block_ms)
    streams = answer.items() if isinstance(answer, dict) else answer
    found: list[Entry] = []
    for _, entries in streams:
        flat = entries[0] if entries and isinstance(entries[0], list) else entries
        found.extend(read_entry(entry_id, fields) for entry_id, fields in flat)
    return found
