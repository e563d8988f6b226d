"""Refusals as problems: what the engine refused, in the words of a client."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from api.messages.errors import KINDS, Problem, ProblemLine, invalid, problem
from engine.holds import HoldStatus
from engine.orders import ID_PREFIX as ORDER_PREFIX
from engine.refusals import Refusal, Refused


@lru_cache(maxsize=256)
def refused(refusal: Refused) -> Problem:  # noqa: PLR0911 - one a refusal
    """What the engine refused, as a problem. Cached, since in a drop they are all alike."""
    match refusal.refusal:
        case Refusal.UNKNOWN_SKU:
            return problem("unknown-sku", f"There is no stock for {_list(refusal.skus)}.")
        case Refusal.SKU_EXISTS:
            return problem("sku-exists", f"There is stock for {_list(refusal.skus)} already.")
        case Refusal.INSUFFICIENT_STOCK:
            short = tuple(ProblemLine(s.sku, s.requested, available=s.available) for s in refusal.shortfalls)
            names = _list([line.sku for line in short])
            return problem("insufficient-stock", f"Not enough units available of {names}.", lines=short)
        case Refusal.CUSTOMER_LIMIT_EXCEEDED:
            over = tuple(ProblemLine(o.sku, o.requested, customer_limit=o.customer_limit) for o in refusal.limits)
            names = _list([line.sku for line in over])
            return problem("customer-limit-exceeded", f"One customer may not have that many of {names}.", lines=over)
        case Refusal.HOLD_NOT_LIVE:
            status = HoldStatus(refusal.hold_status or "")
            return problem("hold-not-live", f"The hold is {status}.", hold_status=status)
        case Refusal.HOLD_EXPIRED:
            return _expired(refusal)
        case Refusal.UNKNOWN_HOLD:
            return problem("unknown-hold", "There is no such hold, or it ended too long ago.")
        case Refusal.KEY_REUSED:
            return problem(
                "idempotency-key-reused",
                "This Idempotency-Key was used with another payload: use a new one.",
            )
        case Refusal.COUNT_TOO_LARGE:
            return invalid("delta", "more units than can be counted")
    return _refused_trade(refusal)


def _refused_trade(refusal: Refused) -> Problem:  # noqa: PLR0911 - one a refusal
    """What was refused of a cart or an order."""
    match refusal.refusal:
        case Refusal.QUANTITY_TOO_LARGE:
            return invalid("quantity", f"sums up to more units of {_list(refusal.skus)} than a line can have")
        case Refusal.FOREIGN_CART:
            return problem("forbidden", "The cart is another customer's.")
        case Refusal.PRICE_CHANGED if not refusal.prices:
            detail = (
                f"The coupon {refusal.reason} takes another amount off than was shown; choose it again to accept it."
            )
            return problem("price-changed", detail)
        case Refusal.PRICE_CHANGED:
            changed = tuple(ProblemLine(c.sku, shown_price=c.shown, price=c.now) for c in refusal.prices)
            names = _list([line.sku for line in changed])
            detail = f"The price of {names} is another than was shown; set its quantity to accept it."
            return problem("price-changed", detail, lines=changed)
        case Refusal.PRODUCT_DISCONTINUED:
            gone = tuple(ProblemLine(sku) for sku in refusal.skus)
            return problem("product-discontinued", f"The shop does not sell {_list(refusal.skus)} now.", lines=gone)
        case Refusal.CURRENCY_MISMATCH:
            other = tuple(ProblemLine(sku) for sku in refusal.skus)
            detail = f"The cart is in {refusal.reason}; {_list(refusal.skus)} is sold in another currency."
            return problem("currency-mismatch", detail, lines=other)
        case Refusal.COUPON_NOT_APPLICABLE:
            detail = f"The coupon takes nothing off this cart: {refusal.reason.replace('-', ' ')}."
            return problem("coupon-not-applicable", detail, reason=refusal.reason)
        case Refusal.TRANSITION_NOT_ALLOWED:
            return problem("transition-not-allowed", f"{refusal.reason.capitalize()}.")
    members = {} if refusal.order_token is None else {"order_id": ORDER_PREFIX + refusal.order_token}
    return problem(refusal.refusal, KINDS[refusal.refusal].when, **members)


def _expired(refusal: Refused) -> Problem:
    detail = "The hold's time was over; its units went back to the shelf."
    gone = tuple(ProblemLine(sku) for sku in refusal.skus if sku)
    return problem("hold-expired", detail, lines=gone) if gone else problem("hold-expired", detail)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
