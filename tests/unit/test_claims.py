"""Holds that are judged in few steps, alone or those of a batch together, are judged as by all rules of their body."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from api.claims import claims_of, wanted_of
from api.holds import Claim, HoldRequest, claim_of
from api.messages.bodies import decode_body
from api.messages.errors import Problem, ProblemRaised
from engine.holds import MAX_QUANTITY
from engine.idempotency import fingerprint
from engine.settings import Settings

SETTINGS = Settings(redis_url="redis://unused")
quickly = hypothesis_settings(deadline=None, database=None, derandomize=True)

GOOD = [
    b'{"lines":[{"sku":"A","quantity":1}]}',
    b'{"customer_id":"ada","lines":[{"quantity":2,"sku":"A.b_c:d-9"}],"ttl_s":5}',
    b'{"lines":[{"sku":"A","quantity":1},{"sku":"B","quantity":2},{"sku":"A","quantity":3}],"customer_id":null}',
    b' { "lines" : [ { "sku" : "A" , "quantity" : 10000 } ] , "customer_id" : "\\u00e9\\u200b" } ',
]
BAD = [
    b"null",
    b"[]",
    b"1",
    b'"?"',
    b"{}",
    b'{"lines":[]}',
    b'{"lines":null}',
    b'{"lines":[{"sku":"A"}]}',
    b'{"lines":[{"sku":"","quantity":1}]}',
    b'{"lines":[{"sku":"A b","quantity":1}]}',
    b'{"lines":[{"sku":"A\\n","quantity":1}]}',
    b'{"lines":[{"sku":"\\u00e9","quantity":1}]}',
    b'{"lines":[{"sku":"' + b"A" * 65 + b'","quantity":1}]}',
    b'{"lines":[{"sku":"A","quantity":0}]}',
    b'{"lines":[{"sku":"A","quantity":10001}]}',
    b'{"lines":[{"sku":"A","quantity":"1"}]}',
    b'{"lines":[{"sku":"A","quantity":1.5}]}',
    b'{"lines":[{"sku":"A","quantity":1,"price":1}]}',
    b'{"lines":[{"sku":"A","quantity":9000},{"sku":"A","quantity":9000}]}',
    b'{"lines":[' + b",".join([b'{"sku":"A","quantity":1}'] * 101) + b"]}",
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":""}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"a\\u0000"}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"a\\u0085b"}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"a\\n"}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"' + b"a" * 129 + b'"}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"\xff"}',
    b'{"lines":[{"sku":"A","quantity":1}],"customer_id":"\\ud800"}',
    b'{"lines":[{"sku":"A","quantity":1}],"ttl_s":0}',
    b'{"lines":[{"sku":"A","quantity":1}],"ttl_s":86401}',
    b'{"lines":[{"sku":"A","quantity":1}],"ttl_s":null}',
    b'{"lines":[{"sku":"A","quantity":1}],"more":1}',
    b'{"lines":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
]


def alone(body: bytes) -> Claim | Problem:
    try:
        return claim_of(SETTINGS, decode_body(HoldRequest, body))
    except ProblemRaised as raised:
        return raised.problem


def shortly(body: bytes) -> Claim | Problem:
    try:
        return claim_of(SETTINGS, wanted_of(body))
    except ProblemRaised as raised:
        return raised.problem


def outline(claims: list[Claim | Problem]) -> list[object]:
    """What was asked for as it is told to clients, and the mark that a retry is known by."""
    return [(msgspec.to_builtins(claim), isinstance(claim, Claim) and fingerprint(claim)) for claim in claims]


def together(bodies: list[bytes]) -> list[Claim | Problem]:
    return claims_of(SETTINGS, [msgspec.Raw(body) for body in bodies])


@pytest.mark.parametrize("body", [*GOOD, *BAD, b"", b"{", b"\xff", b"[" * 5_000], ids=lambda body: repr(body[:70]))
def test_a_hold_is_judged_in_few_steps_as_by_all_rules(body: bytes) -> None:
    claim = shortly(body)
    assert isinstance(claim, Claim) == (body in GOOD)
    assert outline([claim]) == outline([alone(body)])


def test_good_holds_are_claimed_as_each_would_be_alone() -> None:
    claims = together(GOOD)
    assert all(isinstance(claim, Claim) for claim in claims)
    assert outline(claims) == outline([alone(body) for body in GOOD])


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad[:70]))
def test_a_bad_hold_has_its_own_problem_and_leaves_the_others_as_they_are(bad: bytes) -> None:
    bodies = [GOOD[0], bad, *GOOD[1:]]
    claims = together(bodies)
    assert [isinstance(claim, Problem) for claim in claims] == [False, True, False, False, False]
    assert outline(claims) == outline([alone(body) for body in bodies])


texts = st.text(max_size=4) | st.sampled_from(["A", "B", "A-1", "a\n", "\x7f"])
lines = st.fixed_dictionaries({"sku": texts, "quantity": st.integers(-1, MAX_QUANTITY + 1)})
wanted = st.fixed_dictionaries(
    {"lines": st.lists(lines, max_size=3)},
    optional={"customer_id": texts | st.none(), "ttl_s": st.integers(0, 9) | st.none()},
)


@quickly
@given(st.lists(wanted, min_size=1, max_size=4))
def test_whatever_a_batch_asks_for_is_judged_as_if_alone(bodies: list[dict[str, object]]) -> None:
    told = [msgspec.json.encode(body) for body in bodies]
    judged = outline([alone(body) for body in told])
    assert outline(together(told)) == judged
    assert outline([shortly(body) for body in told]) == judged
