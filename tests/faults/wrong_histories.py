"""Histories that are wrong in one way each, beside the right one of examples.py, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tests.faults.examples import (
    FAR_S,
    HOLDS,
    LEDGER,
    MONEY,
    ORDER,
    RIGHT,
    RIGHT_END,
    A,
    V,
    adjustment,
    commit,
    ended,
    held,
    hold,
    moved,
    operation,
    refused,
    reserve,
)
from tests.faults.final import Final, HoldState, LedgerRow, Level, OrderState
from tests.faults.findings import Kind
from tests.faults.history import Act, Answer, Attempt, History, Money, Operation


def with_operation(changed: Operation) -> History:
    """The right history, with another operation of this number."""
    history = History(RIGHT.operations)
    history.begin(changed)
    return history


def levels(sku: str, level: Level) -> dict[str, dict[str, Level]]:
    """The same counts on all sides."""
    return {side: {"A": A, "V": V, sku: level} for side in ("redis", "api", "sql")}


def end(**changed: Any) -> Final:
    return replace(RIGHT_END, **changed)


def both(holds: dict[str, HoldState]) -> dict[str, dict[str, HoldState]]:
    return {"api_holds": holds, "sql_holds": holds}


def without(*references: str) -> tuple[LedgerRow, ...]:
    return tuple(row for row in LEDGER if row.reference not in references)


Wrong = Callable[[], tuple[History, Final]]
EXTRA = {**HOLDS, "h9": hold("h9", "c5", units=9)}
DOUBLE = {**HOLDS, "h9": hold("h9", "c3")}
WRONG: dict[str, tuple[Kind, Wrong]] = {
    "a hold that was granted is nowhere": (
        Kind.LOST,
        lambda: (RIGHT, end(**both({"h1": HOLDS["h1"]}), ledger=without("h2"), **levels("A", Level(8, 0, 2, 10)))),
    ),
    "a commit that was granted did not happen": (
        Kind.LOST,
        lambda: (
            RIGHT,
            end(
                **both({**HOLDS, "h1": hold("h1", "c3", settled_s=0.0)}),
                ledger=without("r6"),
                **levels("A", Level(6, 4, 0, 10)),
            ),
        ),
    ),
    "an adjustment that was granted is missing": (
        Kind.LOST,
        lambda: (with_operation(adjustment(11, "A", 5)), RIGHT_END),
    ),
    "what was put into a cart is not in its order": (
        Kind.LOST,
        lambda: (
            with_operation(
                operation(11, Act.ADD_ITEM, Answer(status=200, id="cart1"), target="cart1", lines=(("V", 1),))
            ),
            RIGHT_END,
        ),
    ),
    "a hold was told to be unknown that is there": (
        Kind.LOST,
        lambda: (with_operation(commit(11, "h2", refused(404, "unknown-hold"))), RIGHT_END),
    ),
    "a hold was made twice": (
        Kind.DOUBLED,
        lambda: (
            RIGHT,
            end(
                **both(DOUBLE),
                ledger=(*LEDGER, moved("A", "reserve", "h9", -2, 2, 0)),
                **levels("A", Level(4, 4, 2, 10)),
            ),
        ),
    ),
    "a commit is in the ledger twice": (
        Kind.DOUBLED,
        lambda: (RIGHT, end(ledger=(*LEDGER, moved("A", "commit", "r6", 0, -2, 2)))),
    ),
    "an adjustment is in the ledger twice": (
        Kind.DOUBLED,
        lambda: (RIGHT, end(ledger=(*LEDGER, moved("A", "adjust", "a1", 10, 0, 0)))),
    ),
    "one event is in the ledger twice": (Kind.DOUBLED, lambda: (RIGHT, end(repeated=("A",)))),
    "an order's units are sold twice": (
        Kind.DOUBLED,
        lambda: (RIGHT, end(ledger=(*LEDGER, moved("V", "commit", "ord1", 0, -2, 2)))),
    ),
    "a hold was both sold and released": (
        Kind.DOUBLED,
        lambda: (with_operation(operation(11, Act.RELEASE, ended("released", "h1"), target="h1")), RIGHT_END),
    ),
    "a hold that was refused is there": (
        Kind.EFFECT_OF_REFUSED,
        lambda: (RIGHT, end(**both(EXTRA))),
    ),
    "a hold that was never wholly asked for is there": (
        Kind.EFFECT_OF_REFUSED,
        lambda: (
            with_operation(
                replace(reserve(5, units=9), attempts=(Attempt(began_s=50.0, ended_s=51.0, is_whole=False),))
            ),
            end(**both(EXTRA)),
        ),
    ),
    "a hold was sold whose commit was refused": (
        Kind.EFFECT_OF_REFUSED,
        lambda: (RIGHT, end(**both({**HOLDS, "h2": hold("h2", "c4", "committed")}))),
    ),
    "an adjustment that was refused is there": (
        Kind.EFFECT_OF_REFUSED,
        lambda: (
            with_operation(operation(1, Act.ADJUST, refused(409, "insufficient-stock"), mark="a1", lines=(("A", 10),))),
            RIGHT_END,
        ),
    ),
    "an order is there whose checkout was refused": (
        Kind.EFFECT_OF_REFUSED,
        lambda: (with_operation(operation(9, Act.CHECK_OUT, refused(409, "cart-empty"), target="cart1")), RIGHT_END),
    ),
    "an unanswered hold is there, but asking again did not say so": (
        Kind.DISAGREES,
        lambda: (with_operation(reserve(5, None, units=9)), end(**both(EXTRA))),
    ),
    "asking again named another hold": (
        Kind.DISAGREES,
        lambda: (with_operation(reserve(4, held(4, "h2"), held(4, "h3"))), RIGHT_END),
    ),
    "what was granted was refused when it was asked again": (
        Kind.DISAGREES,
        lambda: (with_operation(reserve(4, held(4, "h2"), refused(409, "insufficient-stock"))), RIGHT_END),
    ),
    "two keys got one hold": (
        Kind.DISAGREES,
        lambda: (with_operation(reserve(11, held(4, "h2"))), RIGHT_END),
    ),
    "a hold has other units than were answered": (
        Kind.DISAGREES,
        lambda: (with_operation(reserve(4, held(4, "h2", units=3), units=3)), RIGHT_END),
    ),
    "a hold expired before its deadline": (
        Kind.DISAGREES,
        lambda: (RIGHT, end(**both({**HOLDS, "h2": hold("h2", "c4", "expired", settled_s=60.0)}))),
    ),
    "a hold was sold after its deadline": (
        Kind.DISAGREES,
        lambda: (RIGHT, end(**both({**HOLDS, "h1": hold("h1", "c3", "committed", expires_s=40.0)}))),
    ),
    "a hold is live that was told to be committed": (
        Kind.DISAGREES,
        lambda: (with_operation(commit(11, "h2", refused(409, "hold-not-live", hold_status="released"))), RIGHT_END),
    ),
    "nobody says what became of it": (Kind.UNRESOLVED, lambda: (with_operation(reserve(5, None, units=9)), RIGHT_END)),
    "more was promised for a moment than there was": (
        Kind.OVERSOLD,
        lambda: (
            History([*RIGHT.operations, reserve(11, held(11, "h3", 8)), released_later(12, "h3")]),
            end(
                **both({**HOLDS, "h3": hold("h3", "c11", "released", 8)}),
                ledger=(*LEDGER, moved("A", "reserve", "h3", -8, 8, 0), moved("A", "release", "h3", 8, -8, 0)),
            ),
        ),
    ),
    "units came in after they were promised": (
        Kind.OVERSOLD,
        lambda: (
            History([*RIGHT.operations[1:], replace(adjustment(20, "A", 10), mark="a1")]),
            RIGHT_END,
        ),
    ),
    "received is not the sum": (
        Kind.UNBALANCED,
        lambda: (RIGHT, end(**levels("A", Level(5, 2, 2, 10)))),
    ),
    "a count is below nothing": (
        Kind.UNBALANCED,
        lambda: (RIGHT, end(**levels("A", Level(-1, 9, 2, 10)))),
    ),
    "a unit is sold that nobody bought": (
        Kind.MISCOUNTED,
        lambda: (RIGHT, end(**levels("A", Level(5, 2, 3, 10)))),
    ),
    "a unit is reserved that nobody holds": (
        Kind.MISCOUNTED,
        lambda: (RIGHT, end(**levels("A", Level(5, 3, 2, 10)))),
    ),
    "PostgreSQL counts otherwise than Redis": (
        Kind.SIDES_DIFFER,
        lambda: (RIGHT, end(sql={"A": Level(7, 1, 2, 10), "V": V})),
    ),
    "PostgreSQL has another status of a hold than Redis": (
        Kind.SIDES_DIFFER,
        lambda: (RIGHT, end(api_holds={**HOLDS, "h1": hold("h1", "c3")})),
    ),
    "PostgreSQL lacks a hold": (Kind.SIDES_DIFFER, lambda: (RIGHT, end(sql_holds={"h1": HOLDS["h1"]}))),
    "an order that was granted is nowhere": (
        Kind.ORDER_MISSING,
        lambda: (RIGHT, end(api_orders={}, sql_orders=())),
    ),
    "an order is missing in PostgreSQL": (Kind.ORDER_MISSING, lambda: (RIGHT, end(sql_orders=()))),
    "an order is there twice": (Kind.ORDER_DOUBLE, lambda: (RIGHT, end(sql_orders=(ORDER, ORDER)))),
    "a cart has two orders": (
        Kind.ORDER_DOUBLE,
        lambda: (RIGHT, end(sql_orders=(ORDER, replace(ORDER, id="ord2")))),
    ),
    "an order costs another sum than was answered": (
        Kind.MONEY,
        lambda: (RIGHT, end(sql_orders=(replace(ORDER, money=replace(MONEY, subtotal=3_991, total=3_991)),))),
    ),
    "an order's sum is not that of its lines": (
        Kind.MONEY,
        lambda: with_money(replace(MONEY, lines=(("V", 3_980),))),
    ),
    "a payment that was granted is not there": (
        Kind.LOST,
        lambda: (RIGHT, end(**paid(replace(ORDER, payment="pending", stock="held")))),
    ),
    "a customer has too many units": (Kind.LIMIT, lambda: (RIGHT, end(limits={"A": 1}))),
    "an event was set aside": (Kind.QUARANTINE, lambda: (RIGHT, end(quarantined=1))),
    "the server failed": (Kind.FAULT, lambda: (with_operation(reserve(5, refused(500, "internal-error"))), RIGHT_END)),
}


def released_later(number: int, hold_id: str) -> Operation:
    return operation(number, Act.RELEASE, ended("released", hold_id), target=hold_id)


def with_money(money: Money) -> tuple[History, Final]:
    order = replace(ORDER, money=money)
    checkout = operation(9, Act.CHECK_OUT, Answer(status=201, id="ord1", money=money), target="cart1")
    return with_operation(checkout), end(api_orders={"ord1": order}, sql_orders=(order,))


def paid(order: OrderState) -> dict[str, Any]:
    return {"api_orders": {"ord1": order}, "sql_orders": (order,)}


LATER_MONEY = replace(MONEY, subtotal=4_000, total=4_000, lines=(("V", 4_000),))
SAID: dict[str, tuple[str, Wrong]] = {
    "a hold that nobody asked for": (
        "nobody was granted this hold",
        lambda: (RIGHT, end(**both({**HOLDS, "h9": hold("h9", "c99")}))),
    ),
    "a hold that was made anew": (
        "answered as of",
        lambda: (RIGHT, end(**both({**HOLDS, "h2": hold("h2", "c4", created_s=2.0, settled_s=0.0)}))),
    ),
    "an extension that did not happen": (
        "extended to",
        lambda: (
            with_operation(operation(11, Act.EXTEND, Answer(status=200, id="h2", expires_s=FAR_S + 9), target="h2")),
            RIGHT_END,
        ),
    ),
    "a hold without its ledger": ("is missing in the ledger", lambda: (RIGHT, end(ledger=without("h2")))),
    "two orders of a cart, both granted": (
        "it became 2 orders",
        lambda: (
            with_operation(operation(11, Act.CHECK_OUT, Answer(status=201, id="ord2", money=MONEY), target="cart1")),
            end(sql_orders=(ORDER, replace(ORDER, id="ord2"))),
        ),
    ),
    "an order beside the one that was granted": (
        "is there as well as",
        lambda: (RIGHT, end(sql_orders=(ORDER, replace(ORDER, id="ord2", stock="none")))),
    ),
    "one order twice": ("PostgreSQL has it 2 times", lambda: (RIGHT, end(sql_orders=(ORDER, ORDER)))),
    "an order of another sum that adds up": (
        "answered Money",
        lambda: (RIGHT, end(**paid(replace(ORDER, money=LATER_MONEY)))),
    ),
    "an order in two states": (
        "HTTP: OrderState",
        lambda: (RIGHT, end(sql_orders=(replace(ORDER, status="canceled"),))),
    ),
    "an order of another cart": ("it is of cart2", lambda: (RIGHT, end(**paid(replace(ORDER, cart_id="cart2"))))),
    "a paid order whose units are not sold": (
        "it was paid, but its units are held",
        lambda: (RIGHT, end(**paid(replace(ORDER, stock="held")))),
    ),
    "a cart that is nowhere": (
        "the cart is nowhere",
        lambda: (with_operation(operation(11, Act.OPEN_CART, Answer(status=201, id="cart9"))), RIGHT_END),
    ),
}
