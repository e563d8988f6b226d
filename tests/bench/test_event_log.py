"""Lag: the age of the oldest event that PostgreSQL does not have, from samples of two counts."""

from __future__ import annotations

import pytest

from benchmarks.harness.event_log import Sample, lags
from benchmarks.scenarios.flush import draining


def test_without_anything_to_apply_there_is_no_lag() -> None:
    assert lags([Sample(5.0, 10, 10), Sample(6.0, 10, 10)]) == [(0.0, 0.0), (1.0, 0.0)]


def test_the_lag_is_the_age_of_the_oldest_event_that_is_not_applied() -> None:
    samples = [
        Sample(0.0, 0, 0),
        Sample(1.0, 100, 0),
        Sample(2.0, 200, 0),
        Sample(3.0, 200, 150),
        Sample(4.0, 200, 200),
    ]
    found = dict(lags(samples))
    assert found[1.0] == pytest.approx(0.99)
    assert found[2.0] == pytest.approx(1.99)
    assert found[3.0] == pytest.approx(3.0 - 1.51)
    assert found[4.0] == 0.0


def test_what_waits_from_before_the_first_sample_is_as_old_as_the_samples_are() -> None:
    assert lags([Sample(0.0, 50, 10), Sample(1.0, 50, 20)]) == [(0.0, 0.0), (1.0, 1.0)]


def test_a_backlog_is_drained_when_nearly_nothing_of_it_is_left() -> None:
    samples = [Sample(0.0, 1_000, 0), Sample(1.0, 1_100, 700), Sample(2.0, 1_200, 1_180), Sample(3.0, 1_300, 1_290)]
    assert draining(samples) == samples[:3]


def test_a_backlog_that_never_goes_is_measured_to_the_end() -> None:
    samples = [Sample(0.0, 1_000, 0), Sample(1.0, 2_000, 500)]
    assert draining(samples) == samples
