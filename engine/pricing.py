"""Pricing: the price of a unit as a pure function of the catalogue's price, the rules, the request and the time.

Everything is in minor units of one currency. Discounts are exact fractions until the end; the unit price is then
rounded once, half to even, and never below zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Literal

from msgspec import Struct

RULE_PREFIX = "rule_"

Kind = Literal["bulk", "tier", "promo", "seasonal", "sale_price", "buy_x_get_y"]
OF_QUANTITY = frozenset({"bulk", "buy_x_get_y"})
"""Kinds that make the price of a unit depend on how many are bought."""
Stacking = Literal["additive", "multiplicative", "best", "exclusive"]


class Rule(Struct, frozen=True, kw_only=True):
    """A pricing rule: conditions that must all hold where they are given, and one effect by kind.

    `percent` or `amount` off a unit; `price` for `sale_price`; `buy_quantity` and `get_quantity` for `buy_x_get_y`.
    Lower `priority` comes first. Times are ms since 1970, `starts_ms` included and `ends_ms` not.
    `position` orders by creation, `version` is the catalogue's when the rule last changed; neither matters to a price.
    """

    id: str
    name: str
    kind: Kind
    priority: int = 0
    active: bool = True
    stacking: Stacking = "additive"
    min_quantity: int | None = None
    user_tier: str | None = None
    promo_code: str | None = None
    product_id: str | None = None
    variant_id: str | None = None
    category_id: str | None = None
    starts_ms: int | None = None
    ends_ms: int | None = None
    percent: int | None = None
    amount: int | None = None
    price: int | None = None
    buy_quantity: int | None = None
    get_quantity: int | None = None
    position: int = 0
    version: int = 0
    created_ms: int = 0
    updated_ms: int = 0


class PriceQuestion(Struct, frozen=True, gc=False, kw_only=True):
    """What is priced: one unit's undiscounted price, what it is, how many, for whom and when.

    `category_ids` are the product's category and all of its ancestors.
    """

    unit_price: int
    product_id: str
    variant_id: str | None
    category_ids: frozenset[str]
    quantity: int
    user_tier: str | None
    promo_code: str | None
    at_ms: int


class AppliedRule(Struct, frozen=True, array_like=True, gc=False):
    """What one rule took off a unit, in minor units; those of a price sum to its discount."""

    rule_id: str
    name: str
    kind: Kind
    discount: int


class Price(Struct, frozen=True, gc=False):
    """The price of one unit: `final_price = unit_price - discount`, and `total_price` for the quantity asked for."""

    unit_price: int
    discount: int
    final_price: int
    total_price: int
    applied_rules: tuple[AppliedRule, ...]


class RuleIndex:
    """Rules by what they are for, so that a price is asked of those alone that may match, however many there are."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: dict[tuple[str | None, str | None], list[Rule]] = {}
        for rule in rules:
            subject = rule.variant_id or rule.product_id or rule.category_id
            promo = None if rule.promo_code is None else rule.promo_code.casefold()
            self._rules.setdefault((subject, promo), []).append(rule)

    def candidates(self, question: PriceQuestion) -> list[Rule]:
        """Every rule that may match, in no order."""
        if not self._rules:
            return []
        subjects = {None, question.product_id, question.variant_id, *question.category_ids}
        promos = {None, None if question.promo_code is None else question.promo_code.casefold()}
        return [rule for subject in subjects for promo in promos for rule in self._rules.get((subject, promo), ())]


def price(question: PriceQuestion, rules: Iterable[Rule]) -> Price:
    """Price a unit.

    An `exclusive` rule that matches stands alone: the first by priority, among equals the one that takes most. Of the
    matching `best` rules only the largest counts. `additive` percentages are of the undiscounted price,
    `multiplicative` ones of what the rules of earlier priorities left. Rules of equal priority all see the same price
    before them; their multiplicative percentages compound and everything else adds up, so their order cannot matter.
    """
    matching = [rule for rule in rules if _matches(rule, question)]
    if not matching:
        return undiscounted(question.unit_price, question.quantity)
    matching.sort(key=lambda rule: (rule.priority, rule.id))
    chosen = _choose(matching, question)
    left = Fraction(question.unit_price)
    taken: list[tuple[Rule, Fraction]] = []
    for _, of_priority in groupby(chosen, key=lambda rule: rule.priority):
        discounts = _discounts(list(of_priority), question, left)
        taken.extend(discounts)
        left -= sum(discount for _, discount in discounts)
    final = max(round(left), 0)  # a Fraction rounds half to even
    discount = question.unit_price - final
    applied = _explain(taken, discount)
    return Price(question.unit_price, discount, final, final * question.quantity, applied)


def undiscounted(unit_price: int, quantity: int) -> Price:
    """The price of a unit that no rule is for."""
    final = max(unit_price, 0)
    return Price(unit_price, unit_price - final, final, final * quantity, ())


def _matches(rule: Rule, question: PriceQuestion) -> bool:
    return (
        rule.active
        and (rule.min_quantity is None or question.quantity >= rule.min_quantity)
        and (rule.user_tier is None or _same(rule.user_tier, question.user_tier))
        and (rule.promo_code is None or _same(rule.promo_code, question.promo_code))
        and (rule.product_id is None or rule.product_id == question.product_id)
        and (rule.variant_id is None or rule.variant_id == question.variant_id)
        and (rule.category_id is None or rule.category_id in question.category_ids)
        and (rule.starts_ms is None or question.at_ms >= rule.starts_ms)
        and (rule.ends_ms is None or question.at_ms < rule.ends_ms)
    )


def _same(wanted: str, given: str | None) -> bool:
    return given is not None and wanted.casefold() == given.casefold()


def _choose(matching: Sequence[Rule], question: PriceQuestion) -> list[Rule]:
    undiscounted = Fraction(question.unit_price)

    def takes(rule: Rule) -> Fraction:
        return _takes(rule, question, undiscounted)

    exclusive = [rule for rule in matching if rule.stacking == "exclusive" and takes(rule) > 0]
    if exclusive:
        return [min(exclusive, key=lambda rule: (rule.priority, -takes(rule), rule.id))]
    best = [rule for rule in matching if rule.stacking == "best" and takes(rule) > 0]
    largest = min(best, key=lambda rule: (-takes(rule), rule.priority, rule.id), default=None)
    return [rule for rule in matching if rule.stacking in ("additive", "multiplicative") or rule is largest]


def _discounts(rules: Sequence[Rule], question: PriceQuestion, left: Fraction) -> list[tuple[Rule, Fraction]]:
    """What each rule of one priority takes; those that compound share what they take together by their own sizes."""
    undiscounted = Fraction(question.unit_price)
    compounding = [rule for rule in rules if rule.stacking == "multiplicative" and rule.percent is not None]
    remains = left
    for rule in compounding:
        remains -= _takes(rule, question, remains)
    alone = {rule.id: _takes(rule, question, left) for rule in compounding}
    together, sum_alone = left - remains, sum(alone.values())
    found: list[tuple[Rule, Fraction]] = []
    for rule in rules:
        if rule.id in alone:
            found.append((rule, together * alone[rule.id] / sum_alone if sum_alone else Fraction(0)))
        else:
            base = left if rule.stacking == "multiplicative" else undiscounted
            found.append((rule, _takes(rule, question, base)))
    return found


def _takes(rule: Rule, question: PriceQuestion, base: Fraction) -> Fraction:
    """What a rule takes off a unit of price `base`, never less than nothing."""
    if rule.price is not None:
        return max(base - rule.price, Fraction(0))
    if rule.percent is not None:
        return max(base, Fraction(0)) * rule.percent / 100
    if rule.amount is not None:
        return Fraction(rule.amount)
    if rule.buy_quantity is not None and rule.get_quantity is not None:
        bundle = rule.buy_quantity + rule.get_quantity
        free = question.quantity // bundle * rule.get_quantity
        return max(base, Fraction(0)) * free / question.quantity
    return Fraction(0)


def _explain(taken: Sequence[tuple[Rule, Fraction]], discount: int) -> tuple[AppliedRule, ...]:
    """Whole minor units for each rule that took something, which sum to `discount`: by the largest remainders.

    Where the price reached zero, the rules share what there was to take by what each would have taken.
    """
    taking = [(rule, part) for rule, part in taken if part > 0]
    total = sum(part for _, part in taking)
    if not total:
        return ()
    shares = [part * discount / total for _, part in taking]
    whole = [share.numerator // share.denominator for share in shares]
    by_remainder = sorted(
        range(len(shares)), key=lambda i: (whole[i] - shares[i], taking[i][0].priority, taking[i][0].id)
    )
    for i in by_remainder[: discount - sum(whole)]:
        whole[i] += 1
    return tuple(
        AppliedRule(rule.id, rule.name, rule.kind, units) for (rule, _), units in zip(taking, whole, strict=True)
    )
