"""Tokens name one operation of one client, and fingerprints its content."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from api.holds import Claim
from engine.holds import ID_PREFIX, Line, token_of
from engine.idempotency import CLOCK_SKEW_S, derive_token, fingerprint, fresh_token, generations

quickly = hypothesis_settings(deadline=None, database=None, derandomize=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.tuples(texts, texts, texts, st.integers(0, 600))


def test_the_same_client_verb_key_and_position_lead_to_the_same_token() -> None:
    assert derive_token("shop", "reserve", "k", 3) == derive_token("shop", "reserve", "k", 3)
    assert derive_token("shop", "reserve", "k") == derive_token("shop", "reserve", "k", 0)


def test_another_client_verb_key_or_position_leads_to_another_token() -> None:
    tokens = {
        derive_token("shop", "reserve", "k", 0),
        derive_token("other", "reserve", "k", 0),
        derive_token("shop", "commit", "k", 0),
        derive_token("shop", "reserve", "K", 0),
        derive_token("shop", "reserve", "k", 1),
    }
    assert len(tokens) == 5


def test_tokens_and_fingerprints_stay_what_they_are_or_a_retry_across_an_update_would_be_done_twice() -> None:
    assert derive_token("key_0123456789abcdef", "reserve", "cart-4") == "_PNHLq6J2y-Ybpk_z-poMA"
    assert derive_token("key_0123456789abcdef", "reserve-batch", 'ü "1"', 499) == "roMlZyz4ih8Ko8D1tmBFeg"
    assert generations("t", 1_767_323_045_678, 86_400) == ("t-4fe7", ("t-4fe6",))
    assert fingerprint(("hold_a", "order-1")) == "8f7943647bf9fcbe"
    assert fingerprint({"b": [1, None], "a": "ü"}) == "7ac82461481fa4b2"
    assert fingerprint(Claim((Line("85123A", 6), Line("X:y", 1)), None, 600)) == "fbf962cc4d4a30cb"


@given(first=names, second=names)
@quickly
def test_tokens_differ_wherever_the_names_differ(
    first: tuple[str, str, str, int], second: tuple[str, str, str, int]
) -> None:
    assert (derive_token(*first) == derive_token(*second)) is (first == second)


@given(text=texts, left=st.integers(0, 8), right=st.integers(0, 8))
@quickly
def test_moving_the_border_between_client_verb_and_key_changes_the_token(text: str, left: int, right: int) -> None:
    """No two names run together to the same one."""
    one = (text[:left], text[left:], "")
    other = (text[:right], text[right:], "")
    assert (derive_token(*one) == derive_token(*other)) is (one == other)
    assert derive_token("", text, "") != derive_token(text, "", "") or text == ""
    assert derive_token("c", "v", "k1", 2) != derive_token("c", "v", "k", 12)


@given(name=names)
@quickly
def test_every_token_makes_a_hold_id_that_leads_back_to_it(name: tuple[str, str, str, int]) -> None:
    for token in (derive_token(*name), fresh_token()):
        assert token_of(ID_PREFIX + token) == token


def test_fresh_tokens_do_not_repeat() -> None:
    assert len({fresh_token() for _ in range(10_000)}) == 10_000


def test_a_fingerprint_ignores_the_order_of_fields_at_every_depth() -> None:
    one = {"a": 1, "lines": [{"sku": "A", "quantity": 2}], "x": None}
    other = {"x": None, "lines": [{"quantity": 2, "sku": "A"}], "a": 1}
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(msgspec.json.decode(b'{"b" :2, "a":1}')) == fingerprint(msgspec.json.decode(b'{"a":1,"b":2}'))


def test_a_fingerprint_changes_with_content_and_with_the_order_of_lines() -> None:
    payloads: list[object] = [
        {"a": 1},
        {"a": 2},
        {"a": "1"},
        {"a": None},
        {"b": 1},
        {"a": 1, "b": 1},
        [1, 2],
        [2, 1],
        [[1], 2],
        Line("A", 1),
        Line("A", 2),
        "",
        None,
    ]
    assert len({fingerprint(payload) for payload in payloads}) == len(payloads)


@given(payload=st.dictionaries(texts, st.integers() | texts | st.none() | st.lists(st.integers()), max_size=6))
@quickly
def test_any_payload_has_the_fingerprint_of_its_reversal(payload: dict[str, object]) -> None:
    assert fingerprint(payload) == fingerprint(dict(reversed(payload.items())))


def test_a_key_names_one_hold_within_a_retention_period_and_another_once_it_may_be_forgotten() -> None:
    day_s, day_ms = 86_400, 86_400_000
    token, also = generations("t", 10 * day_ms, day_s)
    assert generations("t", 11 * day_ms - 1, day_s)[0] == token
    assert token in generations("t", 11 * day_ms, day_s)[1]
    assert token in generations("t", 10 * day_ms - 1, day_s)[1]
    assert token in generations("t", 10 * day_ms - CLOCK_SKEW_S * 1000, day_s)[1]
    assert token not in generations("t", 10 * day_ms - CLOCK_SKEW_S * 1000 - 1, day_s)[1]
    later, later_also = generations("t", 12 * day_ms, day_s)
    assert token not in (later, *later_also)
    assert len({token, *also}) == 2
    assert all(token_of(f"hold_{name}") == name for name in (token, *also))
