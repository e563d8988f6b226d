"""Reads the scripts' answers: the statuses in the headers of lua/ become values of the domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from engine.errors import HoldfastError, Unavailable
from engine.holds import Hold, HoldAnswer, HoldStatus, Reserve, decode_record
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.stock import StockAnswer, level_of_row
from engine.trade import Changed, Replayed, Traded

BACKLOG_RETRY_AFTER_S = 5


class Answered(Struct, frozen=True, gc=False):
    """What a script said of one operation, and Redis' clock as it said so."""

    now_ms: int
    status: str
    rest: Sequence[Any]


def reserved(request: Reserve, given: Answered) -> HoldAnswer | Refused | Unavailable:
    """What reserve.lua said; past the high-water mark the fault is the answer, as others of the batch may succeed."""
    if given.status == "held":
        customer, lines = request.customer_id, request.lines
        hold = Hold(request.token, HoldStatus.HELD, customer, given.now_ms, int(given.rest[0]), lines)
        return HoldAnswer(hold, replayed=False)
    if given.status == "backlog":
        return Unavailable("PostgreSQL is too far behind", retry_after_s=BACKLOG_RETRY_AFTER_S)
    if given.status == "replayed":
        first = decode_record(given.rest[0]).as_first_answered()
        return HoldAnswer(first.hold(given.rest[1]), replayed=True)
    return _refused(given)


def settled(token: str, given: Answered) -> HoldAnswer | Refused:
    """What commit.lua, release.lua or extend.lua said."""
    if given.status in ("committed", "released", "held", "replayed"):
        return HoldAnswer(decode_record(given.rest[0]).hold(token), replayed=given.status == "replayed")
    return _refused(given)


def adjusted(sku: str, given: Answered) -> StockAnswer | Refused:
    """What adjust.lua said."""
    if given.status in ("adjusted", "replayed"):
        return StockAnswer(level_of_row(sku, given.rest[0]), replayed=given.status == "replayed")
    return _refused(given)


def traded(given: Answered) -> Traded | Replayed | Changed | Refused:
    """What trade.lua said. Raises Unavailable."""
    if given.status == "done":
        return Traded(given.now_ms)
    if given.status == "replayed":
        return Replayed(given.rest[0])
    if given.status == "changed":
        return Changed()
    if given.status == "backlog":
        raise Unavailable("PostgreSQL is too far behind", retry_after_s=BACKLOG_RETRY_AFTER_S)
    return _refused(given)


def _refused(given: Answered) -> Refused:  # noqa: PLR0911 - one a status
    rest = list(given.rest)
    match given.status:
        case "key-reused":
            return Refused(Refusal.KEY_REUSED)
        case "unknown-sku" | "sku-exists" | "count-too-large":
            return Refused(Refusal(given.status), skus=tuple(rest))
        case "insufficient-stock":
            shortfalls = tuple(Shortfall(sku, int(asked), int(left)) for sku, asked, left in _triples(rest))
            return Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=shortfalls)
        case "customer-limit-exceeded":
            limits = tuple(LimitReached(sku, int(asked), int(limit)) for sku, asked, limit in _triples(rest))
            return Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=limits)
        case "hold-not-live":
            return Refused(Refusal.HOLD_NOT_LIVE, hold_status=rest[0])
        case "unknown-hold":
            return Refused(Refusal.UNKNOWN_HOLD)
        case "hold-expired":
            return Refused(Refusal.HOLD_EXPIRED, skus=tuple(rest))
        case "coupon-limit-reached":
            return Refused(Refusal.COUPON_LIMIT_REACHED)
        case other:
            raise HoldfastError(f"a script answered {other!r}, which nothing here knows")


def _triples(flat: list[Any]) -> list[tuple[Any, Any, Any]]:
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]
