"""Milliseconds and timestamps say the same, to the millisecond, both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import hypothesis.strategies as st
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from persistence.moments import ms_of, timestamp_of

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True, max_examples=150)
FIRST_MS = -62_135_596_800_000  # the year 1
LAST_MS = 253_402_300_799_999  # the end of 9999


@given(st.integers(FIRST_MS, LAST_MS))
@quickly
def test_every_millisecond_comes_back_as_it_went(ms: int) -> None:
    assert ms_of(timestamp_of(ms)) == ms


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
@quickly
def test_a_timestamp_is_taken_down_to_its_millisecond_whatever_its_zone(moment: datetime) -> None:
    back = timestamp_of(ms_of(moment))
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)
    assert back.utcoffset() == timedelta(0)


@given(st.integers(FIRST_MS, LAST_MS), st.integers(FIRST_MS, LAST_MS))
@quickly
def test_timestamps_are_ordered_as_their_milliseconds(one: int, other: int) -> None:
    assert (timestamp_of(one) < timestamp_of(other)) is (one < other)


def test_a_known_moment() -> None:
    assert timestamp_of(1_700_000_000_123) == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
