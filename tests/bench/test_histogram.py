"""Histograms of latencies: what they tell is within 1 % of what was put in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.histogram import Histogram, bucket_of, highest_of


@given(st.integers(min_value=0, max_value=600_000_000))
def test_a_bucket_never_ends_before_its_values_nor_one_percent_after_them(value_us: int) -> None:
    highest = highest_of(bucket_of(value_us))
    assert value_us <= highest <= value_us * 1.01


@given(st.integers(min_value=0, max_value=600_000_000))
def test_a_longer_latency_is_never_in_an_earlier_bucket(value_us: int) -> None:
    assert bucket_of(value_us) <= bucket_of(value_us + 1) <= bucket_of(value_us) + 1


@pytest.mark.parametrize(("percent", "expected_ms"), [(50, 50), (99, 99), (99.9, 100), (100, 100)])
def test_a_percentile_is_the_latency_that_so_many_stay_within(percent: float, expected_ms: float) -> None:
    histogram = Histogram()
    histogram.add_seconds(ms / 1000 for ms in range(1, 101))
    assert histogram.percentile_ms(percent) == pytest.approx(expected_ms, rel=0.01)


def test_histograms_of_several_turns_add_up() -> None:
    first, second = Histogram(), Histogram()
    first.add(1_000, times=90)
    second.add(50_000, times=10)
    first.merge(second)
    assert first.total == 100
    assert first.percentile_ms(90) == pytest.approx(1, rel=0.01)
    assert first.percentile_ms(91) == pytest.approx(50, rel=0.01)


def test_of_nothing_every_percentile_is_zero() -> None:
    assert Histogram().percentile_ms(99) == 0.0
