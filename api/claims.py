"""Claims: what the bodies of hot routes ask for, judged in few steps as long as nothing is wrong with any of it.

Trying patterns on each text by itself takes most of the time that decoding a body would take.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api.holds import (
    MAX_CUSTOMER_LENGTH,
    Claim,
    HoldRequest,
    Quantity,
    Ttl,
    Wanted,
    claim_of,
)
from api.messages.bodies import decode_body
from api.messages.errors import Problem, ProblemRaised
from api.messages.texts import WITHOUT_CONTROLS
from engine.holds import MAX_LINES, Line
from engine.settings import Settings
from engine.stock import MAX_SKU_LENGTH, SKU_PATTERN


class _Line(Line, frozen=True, gc=False, forbid_unknown_fields=True):
    """A HoldLine but for the pattern of its SKU, and as the engine takes it."""

    sku: Annotated[str, Meta(min_length=1, max_length=MAX_SKU_LENGTH)]
    quantity: Quantity


class _Wanted(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A HoldRequest but for the patterns of its texts."""

    lines: Annotated[tuple[_Line, ...], Meta(min_length=1, max_length=MAX_LINES)]
    customer_id: Annotated[str, Meta(min_length=1, max_length=MAX_CUSTOMER_LENGTH)] | None = None
    ttl_s: Ttl | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Wanted).decode
_decode_many = msgspec.json.Decoder(list[_Wanted]).decode
_is_sku = re.compile(SKU_PATTERN).search
_is_customer = re.compile(WITHOUT_CONTROLS).search


def wanted_of(body: bytes | bytearray) -> Wanted:
    """What `decode_body(HoldRequest, body)` would decode. Raises ProblemRaised."""
    try:
        wanted = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_body(HoldRequest, body)  # which says what is wrong
    lines, customer = wanted.lines, wanted.customer_id
    skus = lines[0].sku if len(lines) == 1 else _together(lines)
    # What can be printed is no control character; of what cannot, the pattern lets some pass.
    is_good = _is_sku(skus) and (customer is None or customer.isprintable())
    return wanted if is_good else decode_body(HoldRequest, body)


def claims_of(settings: Settings, holds: list[msgspec.Raw]) -> list[Claim | Problem]:
    """What each of these bodies asks for, or the problem with it."""
    wanted = _all_wanted(holds)
    if wanted is None:  # one of them is bad: each speaks for itself
        return [_claim_of(settings, hold) for hold in holds]
    return [claim_of(settings, each) for each in wanted]


def _all_wanted(holds: list[msgspec.Raw]) -> list[_Wanted] | None:
    """All of them decoded; None when one breaks a rule."""
    try:
        wanted = _decode_many(b"[%b]" % b",".join(holds))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    skus = _together([line for each in wanted for line in each.lines])
    customers = "".join([each.customer_id or "" for each in wanted])
    return wanted if _is_sku(skus) and _is_customer(customers) else None


def _together(lines: Sequence[Line]) -> str:
    """Their SKUs as one text: it has no other characters than it may just if none of them has."""
    return "".join([line.sku for line in lines])


def _claim_of(settings: Settings, hold: msgspec.Raw) -> Claim | Problem:
    try:
        return claim_of(settings, decode_body(HoldRequest, hold))
    except ProblemRaised as raised:
        return raised.problem
