"""Ids of holds, and lines that name a SKU twice."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from engine.holds import HoldRecord, HoldStatus, Line, decode_record, sum_lines, token_of

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True)


@pytest.mark.parametrize("hold_id", ["hold_a", "hold_A-b_9", "hold_" + "x" * 64, "hold_hold_1", "hold_-x_"])
def test_a_hold_id_is_its_prefix_and_a_token_of_letters_digits_and_dashes(hold_id: str) -> None:
    assert token_of(hold_id) == hold_id.removeprefix("hold_")


@pytest.mark.parametrize(
    "hold_id",
    [
        "",
        "hold_",
        "a",
        "Hold_a",
        "hold-a",
        "hold_a b",
        "hold_a:b",
        "hold_a*",
        "hold_a\n",
        "hold_a\x00",
        "hold_{s0}",
        "hold_ä",
        "hold_٣",
        "hold_" + "x" * 65,
        "hold_../meta",
        "hold_-",
    ],
)
def test_what_cannot_be_a_hold_id_has_no_token(hold_id: str) -> None:
    assert token_of(hold_id) is None


@given(st.text(max_size=80))
@quickly
def test_no_text_makes_a_token_that_could_name_another_key(text: str) -> None:
    token = token_of(text)
    assert token is None or (text == f"hold_{token}" and token.isascii() and not set(token) & set(":{}*?[] \n|"))


def test_the_same_sku_twice_in_one_hold_is_summed_in_order_of_first_mention() -> None:
    assert sum_lines([Line("B", 1), Line("A", 2), Line("B", 3)]) == (Line("B", 4), Line("A", 2))
    assert sum_lines([Line("A", 2)]) == (Line("A", 2),)
    assert sum_lines([]) == ()


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "A"]), st.integers(1, 10_000)), max_size=100))
@quickly
def test_summing_keeps_every_unit_and_names_each_sku_once(lines: list[tuple[str, int]]) -> None:
    summed = sum_lines([Line(*line) for line in lines])
    assert sum(line.quantity for line in summed) == sum(quantity for _, quantity in lines)
    assert [line.sku for line in summed] == list(dict(lines))


def test_a_record_is_read_as_redis_keeps_it_and_knows_what_was_first_answered() -> None:
    record = decode_record(b'["committed","",1000,9000,500,"f",[["A",2],["B",1]]]')
    assert record == HoldRecord(HoldStatus.COMMITTED, "", 1000, 9000, 500, "f", (("A", 2), ("B", 1)))
    assert record.hold("t").customer_id is None
    assert record.hold("t").lines == (Line("A", 2), Line("B", 1))
    first = record.as_first_answered()
    assert (first.status, first.expires_ms) == (HoldStatus.HELD, 1500)
