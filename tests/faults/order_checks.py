"""Orders: each one that was granted is there once, a cart has one at most, and its money is what was answered."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.faults.final import Final, OrderState
from tests.faults.findings import Findings, Kind
from tests.faults.history import Act, History, Lines, Operation

SETTLED = {"succeeded", "failed", "canceled"}


def check(history: History, final: Final, findings: Findings) -> None:
    """Compare every order, its payment, and the units of every cart."""
    stored: defaultdict[str, list[OrderState]] = defaultdict(list)
    for order in final.sql_orders:
        stored[order.id].append(order)
    made: dict[str, Operation] = {}
    for operation in history.of(Act.CHECK_OUT):
        if operation.granted is not None:
            made[operation.granted.id] = operation
    _check_carts(history, final, made, findings)
    for order_id, operation in made.items():
        _check_order(order_id, operation, stored[order_id], final, findings)
    _check_payments(history, stored, findings)
    _check_units(history, final, findings)


def _check_carts(history: History, final: Final, made: dict[str, Operation], findings: Findings) -> None:
    """Nobody's order is there, and each cart became one order at most, not counting those that were not paid."""
    asked = {operation.target: operation for operation in history.of(Act.CHECK_OUT)}
    orders = Counter(order.cart_id for order in final.sql_orders if order.stock != "none")
    for cart_id, times in orders.items():
        if times > 1:
            findings.add(Kind.ORDER_DOUBLE, cart_id, f"it became {times} orders")
    for order in final.sql_orders:
        if order.id in made:
            continue
        operation = asked.get(order.cart_id)
        if operation is None or operation.granted is None:
            findings.add(Kind.EFFECT_OF_REFUSED, order.id, f"nobody was granted this order of {order.cart_id}")
        elif not findings.excuses(operation):
            findings.add(Kind.ORDER_DOUBLE, order.cart_id, f"{order.id} is there as well as {operation.granted.id}")


def _check_order(
    order_id: str, operation: Operation, stored: list[OrderState], final: Final, findings: Findings
) -> None:
    answer, api = operation.granted, final.api_orders.get(order_id)
    if not stored and api is None:
        findings.lose(operation, order_id, "the order is nowhere", Kind.ORDER_MISSING)
        return
    if not stored or api is None:
        findings.add(Kind.ORDER_MISSING, order_id, f"HTTP: {api}, PostgreSQL: {stored}")
        return
    if len(stored) > 1:
        findings.add(Kind.ORDER_DOUBLE, order_id, f"PostgreSQL has it {len(stored)} times")
    order = stored[0]
    if order.money != api.money:
        findings.add(Kind.MONEY, order_id, f"HTTP {api.money}, PostgreSQL {order.money}")
    elif answer is not None and answer.money is not None and answer.money != order.money:
        # Where the order may be lost, and asked for again, what was put into its cart may have been lost with it.
        findings.lose(operation, order_id, f"answered {answer.money}, it has {order.money}", Kind.MONEY)
    if order.money.total != order.money.subtotal - order.money.discount or order.money.subtotal != sum(
        total for _, total in order.money.lines
    ):
        findings.add(Kind.MONEY, order_id, f"it does not add up: {order.money}")
    if (api.status, api.payment, api.units) != (order.status, order.payment, order.units):
        findings.add(Kind.SIDES_DIFFER, order_id, f"HTTP: {api}, PostgreSQL: {order}")
    if order.cart_id != operation.target:
        findings.add(Kind.DISAGREES, order_id, f"it is of {order.cart_id}, not of {operation.target}")
    _check_ledger(order, final, findings)


def _check_ledger(order: OrderState, final: Final, findings: Findings) -> None:
    """The units of an order that was paid are sold once in the ledger."""
    sold: Counter[str] = Counter()
    for row in final.ledger:
        if row.reference == order.id:
            sold[row.sku] += row.sold
    wanted = dict(order.units) if order.stock == "sold" else {}
    for sku in sold.keys() | wanted.keys():
        if sold[sku] != wanted.get(sku, 0):
            kind = Kind.DOUBLED if sold[sku] > wanted.get(sku, 0) else Kind.LOST
            findings.add(kind, order.id, f"{wanted.get(sku, 0)} {sku} were bought, the ledger sold {sold[sku]}")


def _check_payments(history: History, stored: dict[str, list[OrderState]], findings: Findings) -> None:
    """A payment that was settled is settled, and so are the units."""
    for operation in history.of(Act.PAY):
        for order in stored.get(operation.target, ())[:1]:
            granted = operation.granted is not None
            if granted and operation.wanted in SETTLED and order.payment != operation.wanted:
                findings.lose(operation, order.id, f"{operation.wanted} was granted, but it is {order.payment}")
            if granted and order.payment == "succeeded" and order.stock != "sold" and order.status != "refund_due":
                findings.lose(operation, order.id, f"it was paid, but its units are {order.stock}")


def _check_units(history: History, final: Final, findings: Findings) -> None:
    """What was put into a cart is in it, or in its order."""
    put: defaultdict[str, Counter[str]] = defaultdict(Counter)
    adds: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history.of(Act.ADD_ITEM):
        if operation.granted is not None:
            adds[operation.target].append(operation)
            put[operation.target].update(dict(operation.lines))
    ordered = {order.cart_id: order.units for order in final.sql_orders if order.stock != "none"}
    given_up = {order.cart_id for order in final.sql_orders if order.stock == "none"}
    open_carts = dict(final.carts)
    for operation in history.of(Act.OPEN_CART):
        if operation.granted is None:
            continue
        cart_id = operation.granted.id
        if cart_id in given_up and cart_id not in ordered:
            continue  # its payment failed, which gave its units back
        found: Lines | None = ordered.get(cart_id, open_carts.get(cart_id))
        if found is None:
            findings.lose(operation, cart_id, "the cart is nowhere")
            _blame(cart_id, adds[cart_id], "the cart is nowhere", findings)
        elif Counter(dict(found)) != +put[cart_id]:
            _blame(cart_id, adds[cart_id], f"{dict(put[cart_id])} were put into it, it has {dict(found)}", findings)


def _blame(cart_id: str, adds: list[Operation], text: str, findings: Findings) -> None:
    """A cart of which something may be lost has lost it; its units are counted as they are."""
    excused = [operation for operation in adds if findings.excuses(operation)]
    findings.lost.update(operation.number for operation in excused)
    if adds and not excused:
        findings.add(Kind.LOST, cart_id, text)
