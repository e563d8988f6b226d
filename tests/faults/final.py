"""The final state: what HTTP, Redis and PostgreSQL say once everything is back and nothing is under way."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tests.faults.history import Lines, Money


class Level(Struct, frozen=True):
    """Counts of a SKU."""

    available: int
    reserved: int
    sold: int
    received: int


class HoldState(Struct, frozen=True):
    """A hold as one side tells it."""

    id: str
    status: str
    customer: str
    lines: Lines
    created_s: float
    expires_s: float
    settled_s: float = 0.0


class OrderState(Struct, frozen=True):
    """An order as one side tells it; `units` by SKU."""

    id: str
    cart_id: str
    status: str
    payment: str
    units: Lines
    money: Money
    stock: str = ""


class LedgerRow(Struct, frozen=True):
    """A movement of a SKU's units."""

    sku: str
    kind: str
    reference: str
    available: int
    reserved: int
    sold: int


class Final(Struct, frozen=True, kw_only=True):
    """Everything that is compared with a history.

    `api` has available, reserved and sold; its `received` is Redis' own. `carts` has the units that live carts hold.
    `limits` are how many units of a SKU one customer may have. `sql_holds` are the holds of the customers of this
    history, whoever asked for them. `expected_quarantine` are events that a fault forged so that they had to be set
    aside; `clock_ahead_s` is by how much Redis' clock was ahead of the clients' at most, so that a deadline may have
    passed that much before.
    """

    at_s: float
    redis: Mapping[str, Level]
    api: Mapping[str, Level]
    sql: Mapping[str, Level]
    api_holds: Mapping[str, HoldState]
    sql_holds: Mapping[str, HoldState]
    api_orders: Mapping[str, OrderState]
    sql_orders: tuple[OrderState, ...]
    carts: tuple[tuple[str, Lines], ...] = ()
    ledger: tuple[LedgerRow, ...] = ()
    repeated: tuple[str, ...] = ()
    limits: Mapping[str, int] = {}
    quarantined: int = 0
    expected_quarantine: int = 0
    clock_ahead_s: float = 0.0


class Excuse(Struct, frozen=True):
    """A time in which what was acknowledged may be lost, since PostgreSQL never heard of it and Redis' copy was taken.

    What was acknowledged before `after_s` was in PostgreSQL when the fault came, at `until_s`; what was asked after
    that is judged as ever.
    """

    after_s: float
    until_s: float

    def covers(self, began_s: float, ended_s: float) -> bool:
        """Whether what was asked and answered then may be lost."""
        return self.after_s <= ended_s and began_s <= self.until_s
