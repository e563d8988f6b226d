"""The money's books: what the file says each invoice came to, held against the orders that API and PostgreSQL have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from benchmarks.baskets import SALES
from benchmarks.books import Entry, Movement
from benchmarks.order_lines import OrderLine
from benchmarks.orders import Order
from benchmarks.prices import CURRENCY, amount_text, pennies


class Placed(Struct, frozen=True):
    """An order as its checkout answered it, and the invoice that it is of."""

    invoice: str
    order: Order


class Accounts(Struct, frozen=True):
    """What both sides say of the orders of a run; `carts` are all that it opened, with their invoices."""

    placed: Sequence[Placed]
    stored: Sequence[Order]
    carts: Mapping[str, str]


Bought = tuple[str, str, int]
"""An invoice, a SKU, and the price of one unit."""


def file_totals(lines: Iterable[OrderLine]) -> Counter[str]:
    """What each invoice comes to, in pennies, from the rows alone."""
    totals: Counter[str] = Counter()
    for line in lines:
        if line.kind in SALES:
            totals[line.invoice] += line.units * pennies(line.price)
    return totals


def file_units(lines: Iterable[OrderLine]) -> Counter[Bought]:
    """Units that each invoice has of a SKU at a price, from the rows alone."""
    units: Counter[Bought] = Counter()
    for line in lines:
        if line.kind in SALES:
            units[line.invoice, line.sku, pennies(line.price)] += line.units
    return units


def entries_by_invoice(entries: Mapping[Entry, Movement], placed: Iterable[Placed]) -> dict[Entry, Movement]:
    """The ledger's entries with the invoices in the place of the orders that are theirs."""
    invoices = {each.order.id: each.invoice for each in placed}
    found: dict[Entry, Movement] = {}
    for (reference, sku), moved in entries.items():
        entry = (invoices.get(reference, reference), sku)
        old = found.get(entry, Movement())
        found[entry] = Movement(old.received + moved.received, old.sold + moved.sold)
    return found


def audit_orders(lines: Sequence[OrderLine], accounts: Accounts) -> Iterator[str]:
    """Every mismatch, one sentence each; none means that money and prices are what the file says, on both sides."""
    yield from _compare_sides(accounts)
    answered = [(each.invoice, each.order) for each in accounts.placed]
    stored = [(accounts.carts.get(order.cart_id, ""), order) for order in accounts.stored]
    want_totals, want_units = file_totals(lines), file_units(lines)
    for witness, orders in (("API", answered), ("PostgreSQL", stored)):
        totals, of_items, units = _sums(orders)
        for name, found in ((witness, totals), (f"{witness}, by their items,", of_items)):
            for invoice in sorted(want_totals.keys() | found.keys()):
                if found[invoice] != want_totals[invoice]:
                    come, want = amount_text(found[invoice]), amount_text(want_totals[invoice])
                    yield f"{invoice}: the orders of {name} come to {come}, the file to {want}"
        for bought in sorted(want_units.keys() | units.keys()):
            if units[bought] != want_units[bought]:
                invoice, sku, price = bought
                found_units, wanted = units[bought], want_units[bought]
                yield f"{invoice}: {sku} at {amount_text(price)}: {witness} {found_units} units, the file {wanted}"


def _compare_sides(accounts: Accounts) -> Iterator[str]:
    stored = {order.id: order for order in accounts.stored}
    for each in accounts.placed:
        found = stored.pop(each.order.id, None)
        if found is None:
            yield f"{each.invoice}: the order {each.order.id} is unknown to PostgreSQL"
        elif found != each.order:
            yield f"{each.invoice}: the order {found.id} is not in PostgreSQL what the API answered"
        if each.order.currency != CURRENCY:
            yield f"{each.invoice}: the order {each.order.id} is in {each.order.currency}, the file in {CURRENCY}"
    for order in stored.values():
        yield f"{accounts.carts.get(order.cart_id, '')}: PostgreSQL has the order {order.id}, which nobody was answered"


def _sums(orders: Iterable[tuple[str, Order]]) -> tuple[Counter[str], Counter[str], Counter[Bought]]:
    """By invoice: totals of the orders, totals of their items; and units by price."""
    totals: Counter[str] = Counter()
    of_items: Counter[str] = Counter()
    units: Counter[Bought] = Counter()
    for invoice, order in orders:
        totals[invoice] += order.total
        for item in order.items:
            of_items[invoice] += item.total_price
            units[invoice, item.sku, item.final_price] += item.quantity
    return totals, of_items, units
