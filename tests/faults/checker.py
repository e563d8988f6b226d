"""The checker: a history against the final state. Pure, and tested with histories that are wrong on purpose.

It is written from the contract. Operations that were unanswered must have been asked again before, so that each of them
is known to have happened, or not.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.faults import hold_checks, order_checks, stock_checks
from tests.faults.final import Excuse, Final
from tests.faults.findings import Findings, Kind, Verdict
from tests.faults.history import Act, Answer, History, Operation

FAULT_STATUS = 500


def check(history: History, final: Final, excuses: Iterable[Excuse] = ()) -> Verdict:
    """Everything that is wrong with a history that ended in this state."""
    findings = Findings(excuses)
    for operation in history.operations:
        _check_answers(operation, findings)
    hold_checks.check(history, final, findings)
    order_checks.check(history, final, findings)
    stock_checks.check(history, final, findings)
    return findings.verdict()


def _check_answers(operation: Operation, findings: Findings) -> None:
    """No answer is a fault, all that granted it say the same, nothing granted was refused later, and none is open."""
    name = f"operation {operation.number} ({operation.act})"
    for attempt in operation.attempts:
        if attempt.answer is not None and attempt.answer.status == FAULT_STATUS:
            findings.add(Kind.FAULT, name, f"answered 500 at {attempt.ended_s:.3f}")
    if operation.is_open:
        findings.add(Kind.UNRESOLVED, name, f"{operation.attempts[-1].answer}")
    first = operation.granted
    if first is None:
        return
    seen_grant = False
    for attempt in operation.attempts:
        answer = attempt.final
        if answer is None:
            continue
        if answer.is_granted:
            seen_grant = True
            if _told(operation, answer) != _told(operation, first):
                findings.lose(
                    operation, name, f"{_told(operation, first)}, then {_told(operation, answer)}", Kind.DISAGREES
                )
        elif seen_grant:
            findings.lose(operation, name, f"granted, then refused with {answer.status} {answer.code}", Kind.DISAGREES)


def _told(operation: Operation, answer: Answer) -> tuple[object, ...]:
    """Those parts of an answer that every replay of it must repeat."""
    match operation.act:
        case Act.RESERVE:
            return (answer.id, answer.lines, answer.customer, answer.created_s, answer.expires_s)
        case Act.CHECK_OUT:
            return (answer.id, answer.created_s, answer.money)
        case Act.COMMIT | Act.RELEASE | Act.PAY:
            return (answer.id, answer.state)
        case Act.ADJUST:
            return ()
        case _:
            return (answer.id,)
