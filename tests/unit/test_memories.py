"""What was packed is what is unpacked, and what repeats itself becomes small."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
from hypothesis import given

from engine.memories import MIN_PACKED_BYTES, pack, unpack


@given(st.lists(st.text() | st.integers(), max_size=200))
def test_a_packed_answer_is_text_and_unpacks_to_itself(value: list[str | int]) -> None:
    answer = msgspec.json.encode(value)
    packed = pack(answer)
    packed.decode()
    assert unpack(packed) == answer


def test_a_long_cart_takes_a_fraction_of_its_length() -> None:
    lines = [[f"SKU-{n}", "var_3q2-7wEAAAAAAAAAAAAAAA", n, 1990, 0, 1990, [], "held", False] for n in range(100)]
    answer = msgspec.json.encode(lines)
    assert len(answer) > 10 * MIN_PACKED_BYTES
    assert len(pack(answer)) < len(answer) / 3
