"""Pricing is a pure function: exact, explained to the last unit, and independent of the order of equals."""

from __future__ import annotations

import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from engine.catalogue import Catalogue, Product, Variant
from engine.pricing import AppliedRule, Kind, Price, PriceQuestion, Rule, RuleIndex, price
from engine.quotes import quote


def question(unit_price: int = 55_000, **changes: Any) -> PriceQuestion:
    given_or_default: dict[str, Any] = {
        "unit_price": unit_price,
        "product_id": "prod_1",
        "variant_id": "var_1",
        "category_ids": frozenset({"cat_leaf", "cat_root"}),
        "quantity": 10,
        "user_tier": "GOLD",
        "promo_code": None,
        "at_ms": 1_000,
    }
    return PriceQuestion(**{**given_or_default, **changes})


@pytest.mark.parametrize("adjustment", [0, 500, -55_000, -60_000])
@pytest.mark.parametrize("is_named", [True, False])
def test_without_any_rule_a_price_is_what_rules_for_others_leave_it(adjustment: int, *, is_named: bool) -> None:
    product = Product(id="prod_1", name="Shirt", base_price=55_000, currency="EUR")
    variant = Variant(id="var_1", product_id="prod_1", sku="SHIRT", price_adjustment=adjustment)
    catalogues = [Catalogue(1, (), (product,), (variant,), rules) for rules in ((), (replace(TIER, product_id="x"),))]
    first, second = [
        quote(catalogue, product, variant if is_named else None, quantity=3, user_tier="GOLD", promo_code=None, at_ms=1)
        for catalogue in catalogues
    ]
    assert first == second
    assert first.final_price == max(0, 55_000 + adjustment * is_named)
    assert first.total_price == 3 * first.final_price


BULK = Rule(id="rule_bulk", name="Bulk", kind="bulk", min_quantity=5, percent=10)
TIER = Rule(id="rule_tier", name="Gold", kind="tier", user_tier="GOLD", percent=5)


def changed(rule: Rule, **changes: Any) -> Rule:
    return replace(rule, **changes)


def test_the_worked_example_additive() -> None:
    assert price(question(), [BULK, TIER]) == Price(
        unit_price=55_000,
        discount=8_250,
        final_price=46_750,
        total_price=467_500,
        applied_rules=(
            AppliedRule("rule_bulk", "Bulk", "bulk", 5_500),
            AppliedRule("rule_tier", "Gold", "tier", 2_750),
        ),
    )


def test_the_worked_example_multiplicative() -> None:
    rules = [changed(BULK, stacking="multiplicative"), changed(TIER, stacking="multiplicative")]
    assert price(question(), rules).final_price == 47_025
    in_two_steps = [rules[0], changed(rules[1], priority=1)]
    found = price(question(), in_two_steps)
    assert found.final_price == 47_025
    assert [applied.discount for applied in found.applied_rules] == [5_500, 2_475]


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        (changed(BULK, active=False), {}),
        (BULK, {"quantity": 4}),
        (TIER, {"user_tier": None}),
        (TIER, {"user_tier": "VIP"}),
        (changed(TIER, kind="promo", user_tier=None, promo_code="SPRING"), {"promo_code": "AUTUMN"}),
        (changed(BULK, product_id="prod_2"), {}),
        (changed(BULK, variant_id="var_2"), {}),
        (changed(BULK, category_id="cat_other"), {}),
        (changed(BULK, starts_ms=1_001), {}),
        (changed(BULK, ends_ms=1_000), {}),
    ],
)
def test_a_rule_whose_condition_does_not_hold_takes_nothing(rule: Rule, changes: dict[str, Any]) -> None:
    found = price(question(**changes), [rule])
    assert (found.discount, found.applied_rules) == (0, ())


@pytest.mark.parametrize(
    "rule",
    [
        changed(BULK, product_id="prod_1", variant_id="var_1", category_id="cat_root"),
        changed(BULK, starts_ms=1_000, ends_ms=1_001),
        changed(TIER, user_tier="gold", percent=10),
    ],
)
def test_a_rule_applies_where_all_of_its_conditions_hold(rule: Rule) -> None:
    assert price(question(), [rule]).final_price == 49_500


def test_a_promo_code_opens_its_rule_in_any_case_of_letters() -> None:
    rule = Rule(id="r", name="Spring", kind="promo", promo_code="SPRING", amount=1_000)
    assert price(question(promo_code="spring"), [rule]).final_price == 54_000


def test_a_sale_price_is_the_price_and_never_raises_it() -> None:
    rule = Rule(id="r", name="Sale", kind="sale_price", price=40_000)
    assert price(question(), [rule]).final_price == 40_000
    assert price(question(30_000), [rule]).final_price == 30_000


@pytest.mark.parametrize(("quantity", "final"), [(1, 999), (2, 999), (3, 666), (4, 749), (6, 666)])
def test_buy_two_get_one_spreads_the_free_units_over_all_of_them(quantity: int, final: int) -> None:
    rule = Rule(id="r", name="3 for 2", kind="buy_x_get_y", buy_quantity=2, get_quantity=1)
    assert price(question(999, quantity=quantity), [rule]).final_price == final


def test_of_the_best_rules_only_the_largest_counts_beside_the_others() -> None:
    rules = [BULK, changed(TIER, stacking="best"), changed(TIER, id="rule_more", percent=7, stacking="best")]
    found = price(question(10_000), rules)
    assert [applied.rule_id for applied in found.applied_rules] == ["rule_bulk", "rule_more"]
    assert found.final_price == 8_300


def test_an_exclusive_rule_stands_alone_even_where_others_would_take_more() -> None:
    found = price(question(10_000), [BULK, changed(TIER, stacking="exclusive")])
    assert found.final_price == 9_500
    first = [changed(TIER, stacking="exclusive", priority=2), changed(BULK, stacking="exclusive", priority=1)]
    assert price(question(10_000), first).final_price == 9_000


def test_a_price_never_falls_below_zero_and_its_explanation_still_adds_up() -> None:
    rules = [changed(BULK, percent=None, amount=80), changed(TIER, percent=None, amount=60)]
    found = price(question(100), rules)
    assert (found.final_price, found.discount) == (0, 100)
    assert sum(applied.discount for applied in found.applied_rules) == 100


@pytest.mark.parametrize("rules", [[], [BULK]], ids=["without rules", "with a rule"])
def test_a_variant_that_takes_more_off_than_its_product_costs_is_free(rules: list[Rule]) -> None:
    found = price(question(-5, quantity=3), rules)
    assert (found.unit_price, found.discount, found.final_price, found.total_price) == (-5, -5, 0, 0)
    assert found.applied_rules == ()


@pytest.mark.parametrize(("unit_price", "final"), [(5, 4), (15, 14), (25, 22), (35, 32)])
def test_halves_are_rounded_to_even(unit_price: int, final: int) -> None:
    assert price(question(unit_price), [BULK]).final_price == final


amounts = st.integers(0, 10_000)
percents = st.integers(1, 100)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    kind: Kind = draw(st.sampled_from(["bulk", "tier", "seasonal", "sale_price", "buy_x_get_y"]))
    effect: dict[str, Any] = {
        "sale_price": {"price": draw(amounts)},
        "buy_x_get_y": {"buy_quantity": draw(st.integers(1, 4)), "get_quantity": draw(st.integers(1, 3))},
    }.get(kind) or draw(st.one_of(percents.map(lambda p: {"percent": p}), amounts.map(lambda a: {"amount": a})))
    return Rule(
        id=f"rule_{draw(st.integers(0, 10**9))}",
        name=kind,
        kind=kind,
        priority=draw(st.integers(0, 2)),
        stacking=draw(st.sampled_from(["additive", "multiplicative", "best", "exclusive"])),
        min_quantity=draw(st.one_of(st.none(), st.integers(1, 8))),
        **effect,
    )


distinct_rules = st.lists(rules(), max_size=7, unique_by=lambda rule: rule.id)


@given(st.integers(0, 10**9), st.integers(1, 12), distinct_rules, st.randoms(use_true_random=False))
def test_whatever_the_rules_the_price_is_whole_explained_and_independent_of_their_order(
    unit_price: int, quantity: int, of: list[Rule], dice: random.Random
) -> None:
    asked = question(unit_price, quantity=quantity)
    found = price(asked, of)
    assert 0 <= found.final_price <= unit_price
    assert found.final_price == found.unit_price - found.discount
    assert found.total_price == found.final_price * quantity
    assert sum(applied.discount for applied in found.applied_rules) == found.discount
    assert all(applied.discount >= 0 for applied in found.applied_rules)
    shuffled = list(of)
    dice.shuffle(shuffled)
    assert price(asked, shuffled) == found


@given(st.integers(0, 10**6), percents, percents)
def test_additive_percentages_are_of_the_undiscounted_price(unit_price: int, one: int, other: int) -> None:
    found = price(question(unit_price), [changed(BULK, percent=one), changed(TIER, percent=other, priority=5)])
    exact = unit_price * (100 - one - other)
    assert abs(found.final_price * 100 - max(exact, 0)) <= 50


@given(st.integers(0, 10**6), distinct_rules)
def test_a_rule_more_of_the_additive_kind_never_raises_a_price(unit_price: int, of: list[Rule]) -> None:
    asked = question(unit_price)
    plain = [changed(rule, stacking="additive") for rule in of]
    assert price(asked, plain).final_price <= price(asked, plain[:-1]).final_price


subjects = st.sampled_from(
    [{}, *({"product_id": f"prod_{n}"} for n in (1, 2)), {"variant_id": "var_1"}, {"category_id": "cat_root"}]
)
promos = st.sampled_from([None, "SPRING", "spring", "AUTUMN"])


@given(st.lists(st.tuples(rules(), subjects, promos), max_size=8, unique_by=lambda part: part[0].id), promos)
def test_the_rules_found_by_index_make_the_same_price_as_all_of_them(
    parts: list[tuple[Rule, dict[str, str], str | None]], promo: str | None
) -> None:
    of = [changed(rule, promo_code=code, **subject) for rule, subject, code in parts]
    asked = question(promo_code=promo)
    assert price(asked, RuleIndex(of).candidates(asked)) == price(asked, of)
