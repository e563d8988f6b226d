"""The money's books: a penny, a price or an order that is not the file's is found, whichever side has it wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks.books import Movement
from benchmarks.carts import Cart, carts_by_invoice
from benchmarks.order_books import Accounts, Placed, audit_orders, entries_by_invoice
from benchmarks.order_lines import Kind, OrderLine
from benchmarks.orders import Order, OrderItem
from tests.replay.lines import line

LINES = [
    line("1", "A", 3, price="2.55"),
    line("1", "A", 2, price="2.10"),
    line("1", "B", 4, price="0.85"),
    line("2", "A", 1, price="2.55"),
    line("C3", "A", 2, Kind.RETURN, price="2.55"),
    line("4", "B", 3, Kind.WRITE_OFF, price="0"),
    line("5", "B", 3, Kind.FREE_SALE, price="0"),
]


def ordered(number: str, cart: Cart) -> Order:
    items = tuple(
        OrderItem(each.sku, each.units, 900_000, 900_000 - each.price, each.price, each.price * each.units)
        for each in cart
    )
    total = sum(item.total_price for item in items)
    return Order(f"ord_{number}", f"cart_{number}", None, "GBP", total, 0, total, items)


def honest(lines: Sequence[OrderLine]) -> Accounts:
    """What a system that did all right would say."""
    placed = [
        Placed(invoice, ordered(f"{invoice}-{i}", cart))
        for invoice, carts in carts_by_invoice(lines).items()
        for i, cart in enumerate(carts)
    ]
    carts = {each.order.cart_id: each.invoice for each in placed}
    return Accounts(placed, [each.order for each in placed], carts)


def wrong(accounts: Accounts, number: int, spoil: Callable[[Order], Order], *, api: bool, database: bool) -> Accounts:
    """The same, with one order spoilt on either side."""
    spoilt = spoil(accounts.placed[number].order)
    placed, stored = list(accounts.placed), list(accounts.stored)
    if api:
        placed[number] = replace(placed[number], order=spoilt)
    if database:
        stored[number] = spoilt
    return replace(accounts, placed=placed, stored=stored)


order_lines = st.builds(
    line,
    invoice=st.sampled_from(["1", "2", "3", "C4"]),
    sku=st.sampled_from(["A", "B", "C"]),
    units=st.integers(1, 20_000),
    kind=st.sampled_from(Kind),
    price=st.sampled_from(["0", "0.001", "0.85", "2.1", "2.55", "13541.33"]),
)


@given(st.lists(order_lines, min_size=1))
def test_money_of_a_system_that_did_all_right_balances(lines: list[OrderLine]) -> None:
    assert list(audit_orders(lines, honest(lines))) == []


SIDES = {"API": {"api": True, "database": False}, "PostgreSQL": {"api": False, "database": True}}


@given(st.sampled_from([*SIDES, "both"]), st.integers(0, 3), st.sampled_from([-1, 1]), st.data())
def test_a_single_penny_or_unit_that_is_anywhere_else_is_found(
    side: str, number: int, by: int, data: st.DataObject
) -> None:
    accounts = honest(LINES)
    of_order = data.draw(st.sampled_from(["total", "item"]))
    field = "total" if of_order == "total" else data.draw(st.sampled_from(["quantity", "final_price", "total_price"]))

    def spoil(order: Order) -> Order:
        if of_order == "total":
            return replace(order, total=order.total + by)
        first, *rest = order.items
        return replace(order, items=(replace(first, **{field: getattr(first, field) + by}), *rest))

    sides = SIDES.get(side, {"api": True, "database": True})
    found = list(audit_orders(LINES, wrong(accounts, number, spoil, **sides)))
    assert found
    assert all(text.startswith(f"{accounts.placed[number].invoice}: ") for text in found)
    named = [witness for witness in SIDES if any(f"{witness} " in text or f"{witness}," in text for text in found)]
    assert side == "both" or side in named


def test_a_penny_is_told_with_the_invoice_and_both_amounts() -> None:
    spoilt = wrong(honest(LINES), 2, lambda order: replace(order, total=order.total - 1), api=True, database=True)
    assert list(audit_orders(LINES, spoilt)) == [
        "2: the orders of API come to 2.54 GBP, the file to 2.55 GBP",
        "2: the orders of PostgreSQL come to 2.54 GBP, the file to 2.55 GBP",
    ]


def test_prices_that_are_swapped_between_lines_are_found_even_if_the_total_is_right() -> None:
    lines = [line("1", "A", 1, price="2.00"), line("1", "B", 1, price="3.00")]

    def swap(order: Order) -> Order:
        first, second = order.items
        return replace(order, items=(replace(second, sku="A"), replace(first, sku="B")))

    found = list(audit_orders(lines, wrong(honest(lines), 0, swap, api=True, database=True)))
    assert "1: A at 2.00 GBP: API 0 units, the file 1" in found
    assert "1: A at 3.00 GBP: PostgreSQL 1 units, the file 0" in found
    assert not any("come to" in text for text in found)


@pytest.mark.parametrize(
    ("spoil", "sides", "expected"),
    [
        (
            lambda order: replace(order, customer_id="another"),
            {"api": False, "database": True},
            ["2: the order ord_2-0 is not in PostgreSQL what the API answered"],
        ),
        (
            lambda order: replace(order, currency="EUR"),
            {"api": True, "database": True},
            ["2: the order ord_2-0 is in EUR, the file in GBP"],
        ),
    ],
)
def test_an_order_that_is_another_customers_or_in_another_currency_is_found(
    spoil: Callable[[Order], Order], sides: dict[str, bool], expected: list[str]
) -> None:
    assert list(audit_orders(LINES, wrong(honest(LINES), 2, spoil, **sides))) == expected


def test_an_order_that_never_got_to_postgresql_is_found() -> None:
    accounts = honest(LINES)
    found = list(audit_orders(LINES, replace(accounts, stored=accounts.stored[1:])))
    assert found[0] == "1: the order ord_1-0 is unknown to PostgreSQL"
    assert "1: the orders of PostgreSQL come to 4.20 GBP, the file to 15.25 GBP" in found


def test_a_second_order_of_one_cart_that_nobody_was_answered_is_found() -> None:
    accounts = honest(LINES)
    twice = replace(accounts.stored[2], id="ord_again")
    found = list(audit_orders(LINES, replace(accounts, stored=[*accounts.stored, twice])))
    assert found[0] == "2: PostgreSQL has the order ord_again, which nobody was answered"
    assert "2: the orders of PostgreSQL come to 5.10 GBP, the file to 2.55 GBP" in found


def test_an_invoice_without_any_order_is_found() -> None:
    found = list(audit_orders(LINES, Accounts([], [], {})))
    assert "5: B at 0.00 GBP: API 0 units, the file 3" in found
    assert "1: the orders of API come to 0.00 GBP, the file to 15.25 GBP" in found


def test_the_ledger_s_orders_are_read_as_their_invoices_and_what_is_nobody_s_stays() -> None:
    entries = {
        ("ord_1-0", "A"): Movement(sold=3),
        ("ord_1-1", "A"): Movement(sold=2),
        ("ord_9", "A"): Movement(sold=1),
        ("C3", "A"): Movement(received=2),
    }
    assert entries_by_invoice(entries, honest(LINES).placed) == {
        ("1", "A"): Movement(sold=5),
        ("ord_9", "A"): Movement(sold=1),
        ("C3", "A"): Movement(received=2),
    }
