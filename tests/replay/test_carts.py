"""Carts of real baskets: what an invoice sold, at the price of each row, in carts that may be asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.baskets import MAX_LINES, MAX_QUANTITY
from benchmarks.carts import CartLine, carts_by_invoice, split
from benchmarks.order_lines import MAX_PRICE, Kind
from benchmarks.prices import amount_text, is_rounded, pennies
from benchmarks.workers import in_order
from tests.replay.lines import line


def test_a_sku_that_comes_twice_at_one_price_is_one_line_and_at_two_prices_is_in_two_carts() -> None:
    lines = [
        line("1", "A", 3, price="2.55"),
        line("1", "B", 1, price="0.10"),
        line("1", "A", 2, price="2.550"),
        line("1", "A", 4, price="2.10"),
    ]
    assert carts_by_invoice(lines) == {
        "1": [(CartLine("A", 5, 255), CartLine("B", 1, 10)), (CartLine("A", 4, 210),)],
    }


def test_only_sales_go_into_carts_and_those_at_price_0_too() -> None:
    lines = [
        line("C1", "A", 3, Kind.RETURN),
        line("2", "A", 3, Kind.WRITE_OFF),
        line("3", "A", 3, Kind.FREE_SALE, price="0.0"),
    ]
    assert carts_by_invoice(lines) == {"3": [(CartLine("A", 3, 0),)]}


bought = st.dictionaries(
    st.tuples(st.text("abcd", min_size=1, max_size=4), st.integers(0, 3)), st.integers(1, 3 * MAX_QUANTITY + 1)
)


@given(bought)
def test_the_carts_of_a_basket_are_the_basket_and_each_is_one_that_may_be_asked_for(
    sold: dict[tuple[str, int], int],
) -> None:
    total: Counter[tuple[str, int]] = Counter()
    for cart in split(sold):
        assert 1 <= len(cart) <= MAX_LINES
        assert len({each.sku for each in cart}) == len(cart)
        assert all(1 <= each.units <= MAX_QUANTITY for each in cart)
        total.update({(each.sku, each.price): each.units for each in cart})
    assert total == Counter(sold)


def test_a_wide_basket_takes_as_few_carts_as_hold_its_lines() -> None:
    carts = split({(f"SKU-{i}", 100): 1 for i in range(250)} | {("SKU-0", 90): 1})
    assert [len(cart) for cart in carts] == [MAX_LINES, MAX_LINES, 51]


@pytest.mark.parametrize(
    ("price", "expected", "rounded"),
    [
        ("2.55", 255, False),
        ("2.1", 210, False),
        ("4.2500", 425, False),
        ("0", 0, False),
        ("13541.33", 1_354_133, False),
        ("1E+3", 100_000, False),
        ("0.001", 0, True),
        ("0.005", 0, True),
        ("0.015", 2, True),
        ("0.0050000000000000000000000000000000000001", 1, True),
    ],
)
def test_a_price_is_rounded_once_to_the_penny_half_to_even_and_that_is_counted(
    price: str, expected: int, *, rounded: bool
) -> None:
    assert (pennies(Decimal(price)), is_rounded(Decimal(price))) == (expected, rounded)


@given(st.decimals(0, MAX_PRICE))
def test_every_price_that_a_row_may_have_is_the_nearest_of_pennies(price: Decimal) -> None:
    assert pennies(price) == round(Fraction(price) * 100)


def test_an_amount_is_read_in_pounds() -> None:
    assert [amount_text(amount) for amount in (0, 7, 1_234_567)] == ["0.00 GBP", "0.07 GBP", "12,345.67 GBP"]


# Workers


def test_items_of_one_turn_never_overlap_and_keep_their_order_while_others_go_on() -> None:
    items = [("a", 1), ("a", 2), ("b", 1), (None, 1), ("a", 3), ("b", 2), (None, 2)]
    running: Counter[str | None] = Counter()
    most: Counter[str | None] = Counter()
    served: list[tuple[str | None, int]] = []

    async def serve(item: tuple[str | None, int]) -> None:
        running[item[0]] += 1
        most[item[0]] = max(most[item[0]], running[item[0]])
        await asyncio.sleep(0.01)
        running[item[0]] -= 1
        served.append(item)

    asyncio.run(in_order(items, serve, 4, lambda item: item[0]))
    assert most == {"a": 1, "b": 1, None: 2}
    assert [number for turn, number in served if turn == "a"] == [1, 2, 3]
    assert served.index(("b", 2)) < served.index(("a", 3))
    assert sorted(map(str, served)) == sorted(map(str, items))
