"""What was remembered is what is recalled, and what repeats itself becomes small."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from engine.memories import MIN_PACKED_BYTES, recalled, remembered

VALUES = st.text() | st.integers() | st.lists(st.text() | st.integers(), max_size=600)


@given(st.text(), VALUES)
def test_an_answer_is_recalled_as_it_was_remembered(fingerprint: str, value: object) -> None:
    answer = msgspec.json.encode(value)
    if answer.startswith(b'"'):
        answer = msgspec.json.encode([value])  # an answer is an object or an array
    memory = remembered(fingerprint, answer)
    assert recalled(memory) == (fingerprint, answer)
    assert msgspec.json.decode(memory)[0] == fingerprint


def test_an_answer_is_part_of_its_memory_and_not_a_text_within_it() -> None:
    assert remembered("f", b'{"a":["b"]}') == '["f",{"a":["b"]}]'


def test_an_answer_that_was_remembered_as_text_is_recalled_too() -> None:
    assert recalled('["f","{\\"a\\":[\\"b\\"]}"]') == ("f", b'{"a":["b"]}')


def test_a_long_cart_takes_a_fraction_of_its_length() -> None:
    lines = [[f"SKU-{n}", "var_3q2-7wEAAAAAAAAAAAAAAA", n, 1990, 0, 1990, [], "held", False] for n in range(100)]
    answer = msgspec.json.encode(lines)
    assert len(answer) > 2 * MIN_PACKED_BYTES
    memory = remembered("f", answer)
    assert len(memory) < len(answer) / 3
    assert recalled(memory) == ("f", answer)


@pytest.mark.parametrize("memory", ["", "[]", '["f"]', '[1,"{}"]'])
def test_what_is_no_memory_is_not_recalled(memory: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        recalled(memory)
