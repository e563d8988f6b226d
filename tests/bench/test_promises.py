"""The promises after a load: each way to break one is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.books import Counts
from benchmarks.harness.promises import Books, Stored

SKU = "hot-00000"
GOOD = Counts(90, 7, 3)


def books(*, granted: int = 10, sold: int = 3, unheard: int = 0, may_expire: bool = False) -> Books:
    made = Books()
    made.receive("hot", {SKU: 100})
    made.note("hot", granted=granted, sold=sold, unheard=unheard)
    made.groups["hot"].may_expire = may_expire
    return made


def stored(counts: Counts = GOOD, received: int = 100, wrong: tuple[str, ...] = ()) -> Stored:
    return Stored({SKU: counts}, {SKU: received}, wrong)


def test_books_that_balance_break_nothing() -> None:
    assert books().judge({SKU: GOOD}, stored()) == []


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        (lambda: books().judge({SKU: GOOD}, stored(Counts(91, 6, 3))), "PostgreSQL"),
        (lambda: books().judge({SKU: GOOD}, Stored({}, {})), "PostgreSQL None"),
        (lambda: books().judge({SKU: GOOD}, stored(received=99)), "PostgreSQL received 99"),
        (lambda: books().judge({SKU: Counts(91, 7, 3)}, stored(Counts(91, 7, 3))), "are 101"),
        (lambda: books(granted=101).judge({SKU: Counts(-1, 98, 3)}, stored(Counts(-1, 98, 3))), "below 0"),
        (lambda: books(granted=11).judge({SKU: GOOD}, stored()), "11 units were granted, only 10"),
        (lambda: books(granted=9).judge({SKU: GOOD}, stored()), "at most 9 were granted"),
        (lambda: books(sold=4).judge({SKU: GOOD}, stored()), "4 units were paid for, 3 are sold"),
        (lambda: books().judge({SKU: GOOD}, stored(wrong=("1 events are in quarantine",))), "quarantine"),
    ],
)
def test_whatever_does_not_add_up_is_told(judged: Callable[[], list[str]], said: str) -> None:
    broken = judged()
    assert len(broken) == 1
    assert said in broken[0]


def test_requests_that_were_cut_off_may_have_been_granted() -> None:
    assert books(granted=8, unheard=2).judge({SKU: GOOD}, stored()) == []
    assert books(granted=8, unheard=1).judge({SKU: GOOD}, stored()) != []


def test_holds_that_may_expire_may_be_given_back() -> None:
    assert books(granted=50, may_expire=True).judge({SKU: GOOD}, stored()) == []


def test_only_the_first_of_many_are_told_and_the_others_counted() -> None:
    made = Books()
    made.receive("hot", {f"hot-{number}": 1 for number in range(30)})
    broken = made.judge({}, Stored({}, {}))
    assert len(broken) == 11
    assert broken[-1] == "and 20 more"
