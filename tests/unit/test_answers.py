"""Every status that a script may answer becomes the value that the domain has for it."""

from __future__ import annotations

from typing import Any

import pytest

from engine import answers
from engine.answers import Answered
from engine.errors import HoldfastError, Unavailable
from engine.holds import Hold, HoldAnswer, HoldStatus, Line, Reserve
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.stock import StockAnswer, StockLevel
from engine.trade import Changed, Replayed, Traded

LINES = (Line("A", 2),)
REQUEST = Reserve("t", "f", "bob", 60_000, LINES)
RECORD = b'["%s","bob",1000,90000,60000,"f",[["A",2]]]'


def record(status: str) -> str:
    return RECORD.decode() % status


def said(status: str, *rest: Any) -> Answered:
    return Answered(5_000, status, list(rest))


REFUSALS: list[tuple[Answered, Refused]] = [
    (said("key-reused"), Refused(Refusal.KEY_REUSED)),
    (said("unknown-sku", "X", "Y"), Refused(Refusal.UNKNOWN_SKU, skus=("X", "Y"))),
    (said("sku-exists", "A"), Refused(Refusal.SKU_EXISTS, skus=("A",))),
    (said("count-too-large", "A"), Refused(Refusal.COUNT_TOO_LARGE, skus=("A",))),
    (
        said("insufficient-stock", "A", 5, 2, "B", 1, 0),
        Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 5, 2), Shortfall("B", 1, 0))),
    ),
    (
        said("customer-limit-exceeded", "A", 5, 2),
        Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 5, 2),)),
    ),
    (said("unknown-hold"), Refused(Refusal.UNKNOWN_HOLD)),
    (said("hold-expired"), Refused(Refusal.HOLD_EXPIRED)),
    (said("hold-not-live", "released"), Refused(Refusal.HOLD_NOT_LIVE, hold_status="released")),
    (said("hold-expired", "A", "B"), Refused(Refusal.HOLD_EXPIRED, skus=("A", "B"))),
    (said("coupon-limit-reached", "coup_1"), Refused(Refusal.COUPON_LIMIT_REACHED)),
]
BEFORE_ANY_SCRIPT = {
    Refusal.UNKNOWN_CART,
    Refusal.UNKNOWN_CART_ITEM,
    Refusal.FOREIGN_CART,
    Refusal.CART_ORDERED,
    Refusal.CART_MERGED,
    Refusal.PAYMENT_PENDING,
    Refusal.CART_EMPTY,
    Refusal.CART_FULL,
    Refusal.QUANTITY_TOO_LARGE,
    Refusal.CURRENCY_MISMATCH,
    Refusal.PRODUCT_DISCONTINUED,
    Refusal.PRICE_CHANGED,
    Refusal.UNKNOWN_COUPON,
    Refusal.COUPON_NOT_APPLICABLE,
    Refusal.UNKNOWN_ORDER,
    Refusal.TRANSITION_NOT_ALLOWED,
}


def test_held_is_a_new_hold_made_at_redis_time() -> None:
    hold = Hold("t", HoldStatus.HELD, "bob", 5_000, 65_000, LINES)
    assert answers.reserved(REQUEST, said("held", 65_000)) == HoldAnswer(hold, replayed=False)


@pytest.mark.parametrize("status", ["held", "committed", "released", "expired"])
def test_a_replayed_reserve_is_its_first_answer_whatever_became_of_the_hold(status: str) -> None:
    first = Hold("t", HoldStatus.HELD, "bob", 1_000, 61_000, LINES)
    assert answers.reserved(REQUEST, said("replayed", record(status), "t")) == HoldAnswer(first, replayed=True)


@pytest.mark.parametrize("status", ["held", "committed", "released"])
def test_a_settled_hold_is_answered_as_its_record_is(status: str) -> None:
    hold = Hold("t", HoldStatus(status), "bob", 1_000, 90_000, LINES)
    assert answers.settled("t", said(status, record(status))) == HoldAnswer(hold, replayed=False)
    assert answers.settled("t", said("replayed", record(status))) == HoldAnswer(hold, replayed=True)


def test_an_adjustment_is_answered_with_the_row_and_whether_it_is_a_replay() -> None:
    level = StockLevel("A", 5, 2, 3, 10, None)
    assert answers.adjusted("A", said("adjusted", "[5,2,3,10,0]")) == StockAnswer(level, replayed=False)
    limited = StockLevel("A", 5, 2, 3, 10, 4)
    assert answers.adjusted("A", said("replayed", "[5,2,3,10,4]")) == StockAnswer(limited, replayed=True)


@pytest.mark.parametrize(("given", "refused"), REFUSALS)
def test_a_refusal_is_a_value_with_its_details(given: Answered, refused: Refused) -> None:
    assert answers.settled("t", given) == refused
    assert answers.reserved(REQUEST, given) == refused
    assert answers.adjusted("A", given) == refused
    assert answers.traded(given) == refused


def test_every_refusal_has_a_status_here() -> None:
    assert {refused.refusal for _, refused in REFUSALS} == set(Refusal) - BEFORE_ANY_SCRIPT


def test_a_trade_happened_had_happened_or_must_be_judged_again() -> None:
    assert answers.traded(said("done")) == Traded(5_000)
    assert answers.traded(said("replayed", "[1]")) == Replayed("[1]")
    assert answers.traded(said("changed")) == Changed()
    with pytest.raises(Unavailable):
        answers.traded(said("backlog"))


def test_too_large_a_backlog_is_an_answer_of_its_own_that_says_when_to_come_again() -> None:
    answer = answers.reserved(REQUEST, said("backlog"))
    assert isinstance(answer, Unavailable)
    assert answer.retry_after_s == answers.BACKLOG_RETRY_AFTER_S


def test_a_status_that_nobody_knows_is_a_fault_not_a_refusal() -> None:
    for status in ("due", "fenced", "backlog", "", "HELD"):
        with pytest.raises(HoldfastError, match="nothing here knows"):
            answers.settled("t", said(status))
