"""A small history that is right, with the state that it ended in, and what others are made of."""

from __future__ import annotations

from typing import Any

from tests.faults.final import Final, HoldState, LedgerRow, Level, OrderState
from tests.faults.history import Act, Answer, Attempt, History, Money, Operation

FAR_S = 10_000.0
MONEY = Money(3_990, 0, 3_990, "EUR", (("V", 3_990),))


def operation(number: int, act: Act, *answers: Answer | None, **members: Any) -> Operation:
    """An operation whose attempts took a second each, from `number` * 10 on."""
    began = number * 10.0
    attempts = tuple(
        Attempt(began_s=began + i * 2, ended_s=began + i * 2 + 1, answer=answer) for i, answer in enumerate(answers)
    )
    fields: dict[str, Any] = {"client": 0, "method": "POST", "path": "/", "attempts": attempts, **members}
    return Operation(number=number, act=act, **fields)


def reserve(number: int, *answers: Answer | None, sku: str = "A", units: int = 2, mark: str = "") -> Operation:
    mark = mark or f"c{number}"
    return operation(number, Act.RESERVE, *answers, mark=mark, customer=mark, lines=((sku, units),))


def held(number: int, hold_id: str, units: int = 2, expires_s: float = FAR_S) -> Answer:
    return Answer(
        status=201, id=hold_id, state="held", customer=f"c{number}", lines=(("A", units),), created_s=1.0,
        expires_s=expires_s,
    )  # fmt: skip


def commit(number: int, hold_id: str, *answers: Answer | None) -> Operation:
    return operation(number, Act.COMMIT, *answers, target=hold_id, mark=f"r{number}")


def ended(status: str, hold_id: str) -> Answer:
    return Answer(status=200, id=hold_id, state=status)


def refused(status: int, code: str, **members: Any) -> Answer:
    return Answer(status=status, code=code, **members)


def adjustment(number: int, sku: str, units: int) -> Operation:
    return operation(number, Act.ADJUST, Answer(status=200), mark=f"a{number}", lines=((sku, units),))


def hold(hold_id: str, customer: str, status: str = "held", units: int = 2, **members: Any) -> HoldState:
    fields: dict[str, Any] = {"created_s": 1.0, "expires_s": FAR_S, "settled_s": 50.0, **members}
    return HoldState(hold_id, status, customer, (("A", units),), **fields)


def moved(sku: str, kind: str, reference: str, *counts: int) -> LedgerRow:
    return LedgerRow(sku, kind, reference, *counts)


# A history of one of each: 10 A came in; h1 was sold, h2 is held, a third was refused; V was bought.
RIGHT = History(
    [
        adjustment(1, "A", 10),
        adjustment(2, "V", 10),
        reserve(3, held(3, "h1")),
        reserve(4, None, held(4, "h2")),
        reserve(5, refused(409, "insufficient-stock"), units=9),
        commit(6, "h1", None, ended("committed", "h1"), ended("committed", "h1")),
        operation(7, Act.OPEN_CART, Answer(status=201, id="cart1"), customer="b7"),
        operation(
            8, Act.ADD_ITEM, Answer(status=200, id="cart1", expires_s=FAR_S), target="cart1", lines=(("V", 2),)
        ),
        operation(
            9, Act.CHECK_OUT, Answer(status=201, id="ord1", money=MONEY), target="cart1", wanted="pending",
        ),
        operation(
            10, Act.PAY, Answer(status=200, id="ord1", state="succeeded"), target="ord1", wanted="succeeded"
        ),
    ]
)  # fmt: skip
ORDER = OrderState("ord1", "cart1", "created", "succeeded", (("V", 2),), MONEY, "sold")
A, V = Level(6, 2, 2, 10), Level(8, 0, 2, 10)
LEDGER = (
    moved("A", "adjust", "", 0, 0, 0),
    moved("A", "adjust", "a1", 10, 0, 0),
    moved("V", "adjust", "a2", 10, 0, 0),
    moved("A", "reserve", "h1", -2, 2, 0),
    moved("A", "reserve", "h2", -2, 2, 0),
    moved("A", "commit", "r6", 0, -2, 2),
    moved("V", "commit", "ord1", 0, -2, 2),
)
HOLDS = {"h1": hold("h1", "c3", "committed"), "h2": hold("h2", "c4", settled_s=0.0)}
RIGHT_END = Final(
    at_s=500.0,
    redis={"A": A, "V": V},
    api={"A": A, "V": V},
    sql={"A": A, "V": V},
    api_holds=HOLDS,
    sql_holds=HOLDS,
    api_orders={"ord1": ORDER},
    sql_orders=(ORDER,),
    ledger=LEDGER,
)
