"""Findings: what a checker has against a history, and what it excuses."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec import Struct

from tests.faults.final import Excuse
from tests.faults.history import Operation


class Kind(enum.StrEnum):
    """How a history can be wrong."""

    LOST = "an acknowledged operation is missing"
    DOUBLED = "an operation happened more than once"
    EFFECT_OF_REFUSED = "an operation that was refused or never asked has an effect"
    DISAGREES = "an answer does not agree with what is there"
    UNRESOLVED = "asking again does not say what happened"
    OVERSOLD = "more units were promised at one moment than there were"
    UNBALANCED = "received is not available + reserved + sold"
    MISCOUNTED = "the counts are not those of the operations"
    SIDES_DIFFER = "PostgreSQL and Redis differ"
    ORDER_MISSING = "an order is missing"
    ORDER_DOUBLE = "a cart has two orders"
    LIMIT = "a customer has more than one may have"
    MONEY = "an order's money is not what was answered"
    QUARANTINE = "other events were set aside than were forged"
    FAULT = "an answer is a fault of the server's own"


class Violation(Struct, frozen=True, order=True):
    """One thing that is wrong, and with what."""

    kind: Kind
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.text}"


class Verdict(Struct, frozen=True):
    """All violations, and the numbers of the operations whose loss is excused."""

    violations: tuple[Violation, ...]
    lost: frozenset[int]


class Findings:
    """Collects violations."""

    def __init__(self, excuses: Iterable[Excuse]) -> None:
        self._excuses = tuple(excuses)
        self._violations: list[Violation] = []
        self.lost: set[int] = set()

    def add(self, kind: Kind, subject: str, text: str) -> None:
        self._violations.append(Violation(kind, subject, text))

    def lose(self, operation: Operation, subject: str, text: str, kind: Kind = Kind.LOST) -> None:
        """Something that was acknowledged is not there: a violation, but for what is excused."""
        if self.excuses(operation):
            self.lost.add(operation.number)
        else:
            self.add(kind, subject, f"operation {operation.number} ({operation.act}): {text}")

    def excuses(self, operation: Operation) -> bool:
        """Whether the operation, which was granted, may be lost."""
        return bool(operation.grants) and self.excuses_time(operation.began_s, operation.granted_s)

    def excuses_time(self, began_s: float, ended_s: float) -> bool:
        return any(excuse.covers(began_s, ended_s) for excuse in self._excuses)

    def verdict(self) -> Verdict:
        return Verdict(tuple(sorted(set(self._violations))), frozenset(self.lost))
