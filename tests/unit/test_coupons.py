"""What a coupon takes off is a pure function: bounded by what it applies to, rounded once, refused for one reason."""

from __future__ import annotations

import random
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from engine.catalogue import Catalogue
from engine.coupons import Coupon, CouponLine, Objection, code_key, discount_of

TEN_PERCENT = Coupon(id="coup_1", code="WELCOME10", kind="percentage", value=10)
FIVE_OFF = Coupon(id="coup_2", code="FIVE", kind="fixed_amount", value=500)
LINES = (CouponLine("prod_a", 3_000), CouponLine("prod_b", 1_005))
NOW_MS = 1_000


def changed(coupon: Coupon, **changes: Any) -> Coupon:
    return replace(coupon, **changes)


lines = st.lists(
    st.builds(CouponLine, st.sampled_from(["prod_a", "prod_b", "prod_c"]), st.integers(0, 10**12)), max_size=8
)
percentages = st.builds(
    Coupon, id=st.just("c"), code=st.just("C"), kind=st.just("percentage"), value=st.integers(1, 100)
)
amounts = st.builds(
    Coupon, id=st.just("c"), code=st.just("C"), kind=st.just("fixed_amount"), value=st.integers(1, 10**12)
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "min_order_value": st.integers(0, 10**12),
        "applicable_products": st.sets(st.sampled_from(["prod_a", "prod_b", "prod_none"]), min_size=1).map(tuple),
        "starts_ms": st.integers(NOW_MS - 2, NOW_MS + 2),
        "ends_ms": st.integers(NOW_MS - 1, NOW_MS + 3),
    },
)
coupons = st.builds(lambda coupon, fields: changed(coupon, **fields), percentages | amounts, conditions)


@given(coupons, lines)
def test_a_coupon_takes_between_nothing_and_what_the_applicable_lines_sum_to(
    coupon: Coupon, some: list[CouponLine]
) -> None:
    found = discount_of(coupon, some, NOW_MS)
    wanted = coupon.applicable_products
    applicable = [line.total_price for line in some if wanted is None or line.product_id in wanted]
    if isinstance(found, Objection):
        return
    assert 0 <= found <= sum(applicable)
    assert applicable
    assert coupon.min_order_value is None or sum(line.total_price for line in some) >= coupon.min_order_value


@given(coupons, lines, st.randoms(use_true_random=False))
def test_neither_the_order_of_lines_nor_their_division_changes_what_a_coupon_takes(
    coupon: Coupon, some: list[CouponLine], chance: random.Random
) -> None:
    shuffled = [*some]
    chance.shuffle(shuffled)
    halves = [
        CouponLine(line.product_id, part)
        for line in shuffled
        for part in (line.total_price // 2, line.total_price - line.total_price // 2)
    ]
    assert discount_of(coupon, some, NOW_MS) == discount_of(coupon, shuffled, NOW_MS)
    assert discount_of(coupon, some, NOW_MS) == discount_of(coupon, halves, NOW_MS)


@given(percentages, lines.filter(bool))
def test_a_percentage_is_of_the_sum_and_rounded_once_half_to_even(coupon: Coupon, some: list[CouponLine]) -> None:
    exact = Decimal(sum(line.total_price for line in some)) * coupon.value / 100
    assert discount_of(coupon, some, NOW_MS) == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


@given(coupons, lines)
def test_an_objection_holds_and_none_before_it_does(coupon: Coupon, some: list[CouponLine]) -> None:
    total = sum(line.total_price for line in some)
    wanted = coupon.applicable_products
    holding = [
        objection
        for objection, holds in (
            (Objection.NOT_YET_VALID, coupon.starts_ms is not None and coupon.starts_ms > NOW_MS),
            (Objection.NO_LONGER_VALID, coupon.ends_ms is not None and coupon.ends_ms <= NOW_MS),
            (Objection.MINIMUM_NOT_REACHED, coupon.min_order_value is not None and coupon.min_order_value > total),
            (Objection.NOTHING_APPLICABLE, not any(wanted is None or line.product_id in wanted for line in some)),
        )
        if holds
    ]
    found = discount_of(coupon, some, NOW_MS)
    assert found == holding[0] if holding else isinstance(found, int)


@pytest.mark.parametrize(
    ("coupon", "discount"),
    [
        (TEN_PERCENT, 400),  # of 4,005, which is half-way and goes to the even 400
        (changed(TEN_PERCENT, applicable_products=("prod_a",)), 300),
        (changed(TEN_PERCENT, applicable_products=("prod_b", "prod_gone")), 100),
        (changed(TEN_PERCENT, value=100), 4_005),
        (FIVE_OFF, 500),
        (changed(FIVE_OFF, value=9_000), 4_005),
        (changed(FIVE_OFF, value=9_000, applicable_products=("prod_b",)), 1_005),
        (changed(FIVE_OFF, min_order_value=4_005), 500),
        (changed(FIVE_OFF, min_order_value=4_005, applicable_products=("prod_b",)), 500),
        (changed(FIVE_OFF, starts_ms=NOW_MS, ends_ms=NOW_MS + 1), 500),
    ],
)
def test_what_a_coupon_takes(coupon: Coupon, discount: int) -> None:
    assert discount_of(coupon, LINES, NOW_MS) == discount


@pytest.mark.parametrize(
    ("changes", "objection"),
    [
        ({"starts_ms": NOW_MS + 1}, Objection.NOT_YET_VALID),
        ({"ends_ms": NOW_MS}, Objection.NO_LONGER_VALID),
        ({"min_order_value": 4_006}, Objection.MINIMUM_NOT_REACHED),
        ({"applicable_products": ("prod_c",)}, Objection.NOTHING_APPLICABLE),
    ],
)
def test_a_coupon_that_may_not_be_used_says_why(changes: dict[str, Any], objection: Objection) -> None:
    assert discount_of(changed(FIVE_OFF, **changes), LINES, NOW_MS) is objection


def test_an_order_of_nothing_misses_the_minimum_or_else_has_nothing_applicable() -> None:
    assert discount_of(FIVE_OFF, (), NOW_MS) is Objection.NOTHING_APPLICABLE
    assert discount_of(changed(FIVE_OFF, min_order_value=1), (), NOW_MS) is Objection.MINIMUM_NOT_REACHED


def test_a_line_that_costs_nothing_is_applicable_and_loses_nothing() -> None:
    free = (CouponLine("prod_a", 0),)
    assert discount_of(TEN_PERCENT, free, NOW_MS) == discount_of(FIVE_OFF, free, NOW_MS) == 0


@given(st.text("aBcXyZ09_-", min_size=1, max_size=64))
def test_a_code_is_looked_up_in_any_case_of_letters(code: str) -> None:
    coupon = changed(TEN_PERCENT, code=code)
    catalogue = Catalogue(1, coupons=[coupon])
    assert (
        catalogue.coupon(code.lower()) is catalogue.coupon(code.upper()) is catalogue.coupon_of_id("coup_1") is coupon
    )
    assert catalogue.coupon(code + "x") is catalogue.coupon_of_id("coup_none") is None


def test_a_letter_that_merely_resembles_one_of_a_code_opens_nothing() -> None:
    catalogue = Catalogue(1, coupons=[changed(TEN_PERCENT, code="kiss")])
    assert catalogue.coupon("KISS") is not None
    assert catalogue.coupon("\N{KELVIN SIGN}iss") is catalogue.coupon("ki\N{LATIN SMALL LETTER LONG S}s") is None
    assert code_key("\N{KELVIN SIGN}") == "\N{KELVIN SIGN}"


def test_a_code_made_again_after_its_deletion_is_another_coupon() -> None:
    first = changed(TEN_PERCENT, position=1)
    again = changed(TEN_PERCENT, id="coup_9", code="welcome10", position=2)
    catalogue = Catalogue(1, coupons=[first]).changed(3, [again], [first.id])
    assert catalogue.coupons == (again,)
    assert catalogue.coupon("WELCOME10") == again
