"""Figures: ratios are taken between turns that followed each other, and held against the right side of a target."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest

from benchmarks.findings.figures import Spread, Turn, paired, ratio, spread
from benchmarks.findings.targets import is_met
from benchmarks.harness.turns import in_turns


def turn(contender: str, rate: float) -> Turn:
    return Turn(
        contender=contender,
        rate=rate,
        seconds=1.0,
        granted=[1],
        refused=0,
        faults=0,
        p50_ms=1.0,
        p99_ms=2.0,
        p999_ms=3.0,
        cpu_us={"api": 10.0},
        client="bundled",
        client_busy=0.1,
    )


def test_a_machine_that_slows_down_from_round_to_round_does_not_show_in_the_ratio() -> None:
    assert paired([100, 50, 25], [200, 100, 50]) == Spread(0.5, 0.5, 0.5)


def test_the_ratio_is_the_median_of_the_pairs_beside_the_least_and_the_greatest() -> None:
    assert paired([10, 20, 90], [10, 10, 10]) == Spread(2.0, 1.0, 9.0)


def test_turns_without_a_partner_make_no_ratio() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired([1.0, 2.0], [1.0])


def test_contenders_take_turns_and_the_first_round_is_thrown_away() -> None:
    order: list[str] = []
    numbers = count(1)

    def take(name: str) -> Turn:
        order.append(name)
        return turn(name, next(numbers))

    turns = in_turns([lambda: take("a"), lambda: take("b")], rounds=3)
    assert order == ["a", "b"] * 3
    assert [(found.contender, found.rate) for found in turns] == [("a", 3), ("b", 4), ("a", 5), ("b", 6)]
    assert Counter(found.contender for found in turns) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [("hot", 0.5, True), ("hot", 0.49, False), ("latency", 3.0, True), ("latency", 3.1, False), (None, 0.0, True)],
)
def test_a_floor_is_met_from_above_and_a_ceiling_from_below(target: str | None, value: float, met: bool) -> None:  # noqa: FBT001
    assert is_met(ratio("it", spread([value]), target)) is met
