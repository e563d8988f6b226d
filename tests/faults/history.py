"""Histories: what was asked, by whom, when, and what was answered, if anything was; times are seconds since 1970."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

NOT_FINAL = frozenset({429, 500, 502, 503, 504})
GRANTED = frozenset({200, 201})

Lines = tuple[tuple[str, int], ...]


class Act(enum.StrEnum):
    """What an operation asks for."""

    RESERVE = "reserve"
    COMMIT = "commit"
    RELEASE = "release"
    EXTEND = "extend"
    OPEN_CART = "open-cart"
    ADD_ITEM = "add-item"
    CHECK_OUT = "check-out"
    PAY = "pay"
    ADJUST = "adjust"


class Money(Struct, frozen=True):
    """What an order comes to, in minor units; `lines` are the totals of its lines by SKU."""

    subtotal: int
    discount: int
    total: int
    currency: str
    lines: Lines


class Answer(Struct, frozen=True, kw_only=True):
    """An answer that came: the status, and those parts of its body that must stay true.

    `state` is the status of the hold, cart or order in it, `hold_status` that in a refusal.
    """

    status: int
    code: str = ""
    id: str = ""
    state: str = ""
    hold_status: str = ""
    customer: str = ""
    lines: Lines = ()
    created_s: float = 0.0
    expires_s: float = 0.0
    money: Money | None = None

    @property
    def is_granted(self) -> bool:
        return self.status in GRANTED

    @property
    def is_final(self) -> bool:
        """Whether it tells what happened; a 503 does not."""
        return self.status not in NOT_FINAL and self.code != "request-in-progress"


class Attempt(Struct, frozen=True, kw_only=True):
    """One request for an operation. `is_whole` is False where its client hung up before it had sent all of it."""

    began_s: float
    ended_s: float
    answer: Answer | None = None
    is_whole: bool = True

    @property
    def final(self) -> Answer | None:
        return self.answer if self.answer is not None and self.answer.is_final else None


class Operation(Struct, frozen=True, kw_only=True):
    """Something that a client wanted once, however often it asked. `mark` names it within the system's own records:

    the customer of a hold that nobody else is, the reference of a commit or an adjustment. `target` is the hold, cart
    or order that it is about, `lines` the units (for an adjustment: by how many), `wanted` the payment's news or the
    checkout's way of paying.
    """

    number: int
    act: Act
    client: int
    method: str
    path: str
    body: bytes | None = None
    key: str | None = None
    mark: str = ""
    customer: str = ""
    target: str = ""
    lines: Lines = ()
    wanted: str = ""
    attempts: tuple[Attempt, ...] = ()

    @property
    def grants(self) -> tuple[Attempt, ...]:
        """The attempts that were granted."""
        return tuple(attempt for attempt in self.attempts if attempt.final is not None and attempt.final.is_granted)

    @property
    def granted(self) -> Answer | None:
        """The first answer that granted it."""
        return next((attempt.answer for attempt in self.grants), None)

    @property
    def granted_s(self) -> float:
        """When that answer was there."""
        return self.grants[0].ended_s

    @property
    def began_s(self) -> float:
        return self.attempts[0].began_s

    @property
    def is_asked(self) -> bool:
        """Whether the whole of it was ever sent."""
        return any(attempt.is_whole for attempt in self.attempts)

    @property
    def is_open(self) -> bool:
        """Whether it is unknown what became of it: it was never granted, and what was asked last was not refused."""
        return self.is_asked and not self.grants and self.attempts[-1].final is None

    @property
    def must_be_asked_again(self) -> bool:
        """Whether some request of it may still have had an effect that nobody told of."""
        return self.is_asked and not self.grants and any(each.is_whole and each.final is None for each in self.attempts)


class History:
    """Operations by number, added to while a load runs."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._operations = {operation.number: operation for operation in operations}

    @property
    def operations(self) -> tuple[Operation, ...]:
        return tuple(self._operations.values())

    def of(self, *acts: Act) -> tuple[Operation, ...]:
        return tuple(each for each in self._operations.values() if each.act in acts)

    def next_number(self) -> int:
        return len(self._operations) + 1

    def begin(self, operation: Operation) -> None:
        self._operations[operation.number] = operation

    def note(self, number: int, attempt: Attempt) -> Operation:
        """Add an attempt; returns the operation with it."""
        operation = self._operations[number]
        operation = replace(operation, attempts=(*operation.attempts, attempt))
        self._operations[number] = operation
        return operation
