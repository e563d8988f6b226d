"""Holds: each one that was granted is there once, as it was answered, and ended as it was answered, if it ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from tests.faults.final import Final, HoldState, LedgerRow
from tests.faults.findings import Findings, Kind
from tests.faults.history import Act, Answer, History, Operation

ENDINGS = {"committed": "commit", "released": "release", "expired": "expire"}
CLOSE_S = 0.002


def check(history: History, final: Final, findings: Findings) -> None:
    """Compare every hold, and what became of it."""
    made: dict[str, Operation] = {}
    for operation in history.of(Act.RESERVE):
        granted = operation.granted
        if granted is None:
            continue
        if granted.id in made:
            findings.add(
                Kind.DISAGREES, granted.id, f"it answers operations {made[granted.id].number} and {operation.number}"
            )
        made[granted.id] = operation
    _check_strangers(history, final, made, findings)
    later: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history.of(Act.COMMIT, Act.RELEASE, Act.EXTEND):
        later[operation.target].append(operation)
    ledger: defaultdict[str, list[LedgerRow]] = defaultdict(list)
    for row in final.ledger:
        ledger[row.reference].append(row)
    _check_limits(final, findings)
    for hold_id, operation in made.items():
        hold = _find(hold_id, operation, final, findings)
        if hold is None:
            continue
        if operation.number not in findings.lost:  # else it was made anew when it was asked for again
            _check_ending(hold, later[hold_id], findings)
        _check_ledger(hold, later[hold_id], ledger, findings)


def _check_strangers(history: History, final: Final, made: Mapping[str, Operation], findings: Findings) -> None:
    """No hold is there that nobody was granted. A customer of one operation only names that operation."""
    marks = {operation.mark: operation for operation in history.of(Act.RESERVE) if operation.mark}
    for hold_id in final.sql_holds.keys() - made.keys():
        asked = marks.get(final.sql_holds[hold_id].customer)
        if asked is None:
            findings.add(Kind.DOUBLED, hold_id, "nobody was granted this hold")
        elif asked.granted is not None:
            findings.lose(asked, hold_id, f"it was made as well as {asked.granted.id}", Kind.DOUBLED)
        elif asked.is_open:
            findings.add(
                Kind.DISAGREES, hold_id, f"operation {asked.number} is there, but asking again does not say so"
            )
        else:
            findings.add(Kind.EFFECT_OF_REFUSED, hold_id, f"operation {asked.number} made it")


def _check_limits(final: Final, findings: Findings) -> None:
    """Held and sold together, no customer has more of a SKU than one may have."""
    units: Counter[tuple[str, str]] = Counter()
    for hold in final.sql_holds.values():
        if hold.status in ("held", "committed"):
            units.update({(hold.customer, sku): quantity for sku, quantity in hold.lines if sku in final.limits})
    for (customer, sku), count in units.items():
        if count > final.limits[sku]:
            findings.add(Kind.LIMIT, customer, f"{count} units of {sku}, of which one may have {final.limits[sku]}")


def _find(hold_id: str, operation: Operation, final: Final, findings: Findings) -> HoldState | None:
    """The hold, as both sides have it."""
    api, sql = final.api_holds.get(hold_id), final.sql_holds.get(hold_id)
    if api is None and sql is None:
        findings.lose(operation, hold_id, "the hold is nowhere")
        return None
    if api is None or sql is None:
        findings.add(Kind.SIDES_DIFFER, hold_id, f"HTTP: {api}, PostgreSQL: {sql}")
        return None
    if _told(api) != _told(sql) or api.status != sql.status or abs(api.expires_s - sql.expires_s) > CLOSE_S:
        findings.add(Kind.SIDES_DIFFER, hold_id, f"HTTP: {api}, PostgreSQL: {sql}")
    answer = operation.granted
    if answer is not None and (answer.customer, sorted(answer.lines)) != (sql.customer, sorted(sql.lines)):
        findings.add(Kind.DISAGREES, hold_id, f"answered {answer.customer} {answer.lines}, there is {sql}")
    if answer is not None and abs(answer.created_s - sql.created_s) > CLOSE_S:
        findings.lose(operation, hold_id, f"answered as of {answer.created_s}, made at {sql.created_s}", Kind.DISAGREES)
    return sql


def _told(hold: HoldState) -> tuple[object, ...]:
    return (hold.customer, sorted(hold.lines))


def _check_ending(hold: HoldState, later: list[Operation], findings: Findings) -> None:
    endings = {Act.COMMIT: "committed", Act.RELEASE: "released"}
    ended = [operation for operation in later if operation.act in endings and operation.granted is not None]
    if len({operation.act for operation in ended}) > 1 and not any(map(findings.excuses, ended)):
        findings.add(Kind.DOUBLED, hold.id, "its commit and its release were both granted")
        return
    for operation in ended:
        if hold.status != endings[operation.act]:
            findings.lose(operation, hold.id, f"granted, but the hold is {hold.status}")
    if not ended and hold.status not in ("held", "expired"):
        findings.add(Kind.EFFECT_OF_REFUSED, hold.id, f"it is {hold.status}, which nobody was granted")
    if hold.status == "expired" and hold.settled_s < hold.expires_s - CLOSE_S:
        findings.add(Kind.DISAGREES, hold.id, f"it expired at {hold.settled_s}, before its deadline {hold.expires_s}")
    if hold.status == "committed" and hold.settled_s >= hold.expires_s + CLOSE_S:
        findings.add(Kind.DISAGREES, hold.id, f"it was sold at {hold.settled_s}, after its deadline {hold.expires_s}")
    _check_told(hold, later, findings)


def _check_told(hold: HoldState, later: list[Operation], findings: Findings) -> None:
    """What was answered of a hold later on is true of it at the end."""
    for operation in later:
        answer = operation.granted
        if operation.act is Act.EXTEND and answer is not None and answer.expires_s > hold.expires_s + CLOSE_S:
            findings.lose(operation, hold.id, f"extended to {answer.expires_s}, but it ends at {hold.expires_s}")
        for attempt in operation.attempts:
            if attempt.final is not None and not findings.excuses_time(attempt.began_s, attempt.ended_s):
                _check_refusal(hold, operation, attempt.final, findings)


def _check_refusal(hold: HoldState, operation: Operation, answer: Answer, findings: Findings) -> None:
    """What a refusal says of a hold is true for ever."""
    states = {"hold-expired": "expired", "hold-not-live": answer.hold_status}
    told = f"operation {operation.number} was told {answer.code} {answer.hold_status}"
    if answer.code == "unknown-hold":
        findings.add(Kind.LOST, hold.id, told)
    elif answer.code in states and hold.status != states[answer.code]:
        findings.add(Kind.DISAGREES, hold.id, f"{told}, it is {hold.status}")


def _check_ledger(
    hold: HoldState, later: list[Operation], ledger: Mapping[str, list[LedgerRow]], findings: Findings
) -> None:
    """Each line of a hold moved once when it was made, and once when it ended."""
    references = {hold.id, *(operation.mark for operation in later if operation.mark)}
    rows = Counter((row.kind, row.sku, row.reserved) for each in references for row in ledger.get(each, ()))
    wanted = Counter(("reserve", sku, quantity) for sku, quantity in hold.lines)
    if hold.status in ENDINGS:
        wanted += Counter((ENDINGS[hold.status], sku, -quantity) for sku, quantity in hold.lines)
    for (kind, sku, reserved), times in (rows - wanted).items():
        findings.add(Kind.DOUBLED, hold.id, f"{kind} of {reserved} {sku} is in the ledger {times} times too often")
    for (kind, sku, reserved), times in (wanted - rows).items():
        findings.add(Kind.LOST, hold.id, f"{kind} of {reserved} {sku} is missing in the ledger {times} times")
