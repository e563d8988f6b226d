"""Puts the sales of each invoice together as carts: what was bought at which price, in as many carts as it takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from msgspec import Struct

from benchmarks.baskets import MAX_LINES, MAX_QUANTITY, SALES
from benchmarks.order_lines import OrderLine
from benchmarks.prices import pennies


class CartLine(Struct, frozen=True):
    """Units of one SKU, at so many pennies each."""

    sku: str
    units: int
    price: int


Cart = tuple[CartLine, ...]


def carts_by_invoice(lines: Iterable[OrderLine]) -> dict[str, list[Cart]]:
    """The carts of every invoice that sells; rows of one SKU at one price are summed."""
    sales: defaultdict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for line in lines:
        if line.kind in SALES:
            sales[line.invoice][line.sku, pennies(line.price)] += line.units
    return {invoice: split(bought) for invoice, bought in sales.items()}


def split(bought: Mapping[tuple[str, int], int]) -> list[Cart]:
    """The fewest carts that hold all in the order given: each a SKU once, with no more lines and units than it may."""
    carts: list[list[CartLine]] = []
    begin = 0
    after: dict[str, int] = {}
    for (sku, price), units in bought.items():
        for part in _parts(units):
            place = max(begin, after.get(sku, 0))
            while place < len(carts) and len(carts[place]) == MAX_LINES:
                place += 1
            if place == len(carts):
                carts.append([])
            carts[place].append(CartLine(sku, part, price))
            after[sku] = place + 1
            while begin < len(carts) and len(carts[begin]) == MAX_LINES:
                begin += 1
    return [tuple(cart) for cart in carts]


def _parts(units: int) -> Iterable[int]:
    whole, rest = divmod(units, MAX_QUANTITY)
    return [MAX_QUANTITY] * whole + [rest] * (rest > 0)
