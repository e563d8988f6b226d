"""Holds: time-limited claims on one or more SKUs, all or nothing, that end exactly once."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from engine.idempotency import token_in

MAX_LINES = 100
MAX_QUANTITY = 10_000
MAX_TTL_S = 86_400
MAX_BATCH_HOLDS = 500
ID_PREFIX = "hold_"


class HoldStatus(enum.StrEnum):
    """`held` ends as exactly one of the other three."""

    HELD = "held"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Line(Struct, frozen=True, gc=False):
    """Units of one SKU within a hold."""

    sku: str
    quantity: int


class Hold(Struct, frozen=True, gc=False):
    """A hold as it stood at one moment; times are ms since 1970 by Redis' clock."""

    token: str
    status: HoldStatus
    customer_id: str | None
    created_ms: int
    expires_ms: int
    lines: tuple[Line, ...]

    @property
    def id(self) -> str:
        return ID_PREFIX + self.token


class Reserve(Struct, frozen=True, gc=False):
    """A claim to be made. `token` names the hold; `lines` has each SKU once (see `sum_lines`).

    `fingerprint` is plain text, such as hexadecimal: it needs no escape in JSON. `also` are the tokens under which the
    same keyed request may have been made before. `group` and `position` (from 1) tie the holds of one keyed batch call
    together, under one fingerprint. `swept` once everything that was due when it first came is reclaimed.
    """

    token: str
    fingerprint: str
    customer_id: str | None
    ttl_ms: int
    lines: tuple[Line, ...]
    also: tuple[str, ...] = ()
    group: str | None = None
    position: int = 0
    swept: bool = False


class HoldAnswer(Struct, frozen=True, gc=False):
    """A hold after an operation; `replayed` when this key had been answered before."""

    hold: Hold
    replayed: bool


class HoldRecord(Struct, frozen=True, gc=False, array_like=True):
    """A hold as Redis keeps it (lua/prelude.lua): `customer` is "" for a guest, `ttl_ms` the one first asked for."""

    status: HoldStatus
    customer: str
    created_ms: int
    expires_ms: int
    ttl_ms: int
    fingerprint: str
    lines: tuple[tuple[str, int], ...]

    def hold(self, token: str) -> Hold:
        """The hold that this record is of."""
        lines = tuple([Line(sku, quantity) for sku, quantity in self.lines])
        return Hold(token, self.status, self.customer or None, self.created_ms, self.expires_ms, lines)

    def as_first_answered(self) -> HoldRecord:
        """The record as it was when the hold was made, for the replay of its reserve."""
        return msgspec.structs.replace(self, status=HoldStatus.HELD, expires_ms=self.created_ms + self.ttl_ms)


decode_record = msgspec.json.Decoder(HoldRecord).decode


def sum_lines(lines: Sequence[Line]) -> tuple[Line, ...]:
    """One line a SKU, in order of first mention, quantities summed."""
    if len(lines) == 1:  # as most holds have
        return tuple(lines)
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.sku] = sums.get(line.sku, 0) + line.quantity
    return tuple(Line(sku, quantity) for sku, quantity in sums.items())


def token_of(hold_id: str) -> str | None:
    """The token in a hold's id; None for what cannot be one."""
    return token_in(hold_id, ID_PREFIX)
