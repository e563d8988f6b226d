"""The checker, tried on histories that are right and on such that are wrong in one way each."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.faults.checker import check
from tests.faults.examples import (
    FAR_S,
    HOLDS,
    ORDER,
    RIGHT,
    RIGHT_END,
    adjustment,
    ended,
    held,
    moved,
    operation,
    reserve,
)
from tests.faults.final import Excuse, Final, HoldState, Level
from tests.faults.findings import Kind
from tests.faults.history import Act, Attempt, History, Lines
from tests.faults.wrong_histories import LATER_MONEY, SAID, WRONG, both, end, levels, paid, without


def kinds(history: History, final: Final, *excuses: Excuse) -> set[Kind]:
    return {violation.kind for violation in check(history, final, excuses).violations}


def test_a_history_that_is_right_has_no_violation() -> None:
    assert check(RIGHT, RIGHT_END).violations == ()


@pytest.mark.parametrize("name", WRONG)
def test_a_history_that_is_wrong_in_one_way_is_found(name: str) -> None:
    kind, make = WRONG[name]
    history, final = make()
    assert kind in kinds(history, final)


@pytest.mark.parametrize("name", SAID)
def test_what_is_wrong_is_said(name: str) -> None:
    words, make = SAID[name]
    history, final = make()
    assert any(words in violation.text for violation in check(history, final).violations)


def test_every_kind_of_violation_is_tried() -> None:
    assert {kind for kind, _ in WRONG.values()} == set(Kind)


def test_what_is_lost_within_an_excused_time_is_counted_and_no_violation() -> None:
    lost = end(**both({"h1": HOLDS["h1"]}), ledger=without("h2"), **levels("A", Level(8, 0, 2, 10)))
    acknowledged_s = 43.0
    verdict = check(RIGHT, lost, [Excuse(acknowledged_s - 1, acknowledged_s + 1)])
    assert verdict.violations == ()
    assert verdict.lost == {4}


@pytest.mark.parametrize("excuse", [Excuse(44.0, 50.0), Excuse(30.0, 39.0)])
def test_what_was_acknowledged_before_or_asked_after_an_excused_time_must_be_there(excuse: Excuse) -> None:
    lost = end(**both({"h1": HOLDS["h1"]}), ledger=without("h2"), **levels("A", Level(8, 0, 2, 10)))
    assert kinds(RIGHT, lost, excuse) == {Kind.LOST}


def test_a_loss_that_only_one_side_shows_is_never_excused() -> None:
    assert kinds(RIGHT, end(sql_holds={"h1": HOLDS["h1"]}), Excuse(0.0, FAR_S)) >= {Kind.SIDES_DIFFER}


def test_an_order_that_was_lost_and_asked_for_again_may_have_lost_what_was_in_its_cart() -> None:
    again = replace(ORDER, money=LATER_MONEY)
    assert kinds(RIGHT, end(**paid(again)), Excuse(0.0, FAR_S)) == set()
    assert kinds(RIGHT, end(sql_orders=(again,)), Excuse(0.0, FAR_S)) >= {Kind.MONEY}


def test_units_that_come_free_may_be_promised_again_at_once() -> None:
    first = reserve(3, held(3, "h1", 10), units=10)
    release = operation(4, Act.RELEASE, ended("released", "h1"), target="h1")
    second = reserve(5, held(5, "h2", 10), units=10)
    lines: Lines = (("A", 10),)
    holds = {
        "h1": HoldState("h1", "released", "c3", lines, 1.0, FAR_S, 41.0),
        "h2": HoldState("h2", "held", "c5", lines, 1.0, FAR_S),
    }
    level = {"A": Level(0, 10, 0, 10)}
    final = Final(
        at_s=500.0,
        redis=level,
        api=level,
        sql=level,
        api_holds=holds,
        sql_holds=holds,
        api_orders={},
        sql_orders=(),
        ledger=(
            moved("A", "adjust", "a1", 10, 0, 0),
            moved("A", "reserve", "h1", -10, 10, 0),
            moved("A", "release", "h1", 10, -10, 0),
            moved("A", "reserve", "h2", -10, 10, 0),
        ),
    )
    right = History([adjustment(1, "A", 10), first, release, second])
    assert kinds(right, final) == set()
    still_promised = History([adjustment(1, "A", 10), first, second, replace(release, attempts=late(70.0))])
    assert kinds(still_promised, final) == {Kind.OVERSOLD}


def late(began_s: float) -> tuple[Attempt, ...]:
    return (Attempt(began_s=began_s, ended_s=began_s + 1, answer=ended("released", "h1")),)
