"""Stock: the counts are those of the operations, on both sides, and at no moment more was promised than there was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from msgspec import Struct

from tests.faults.final import Final, Level
from tests.faults.findings import Findings, Kind
from tests.faults.history import Act, Answer, Attempt, History, Operation

FOREVER_S = float("inf")
CLOSE_S = 0.005


def check(history: History, final: Final, findings: Findings) -> None:
    """Compare all counts, and go through every moment of the history. The other checks have found what is lost."""
    received = _received(history, final, findings)
    reserved, sold = _claimed(final)
    for sku in sorted(final.redis.keys() | final.sql.keys() | final.api.keys()):
        redis, api, sql = final.redis.get(sku), final.api.get(sku), final.sql.get(sku)
        if not (redis == api == sql) or redis is None:
            findings.add(Kind.SIDES_DIFFER, sku, f"Redis: {redis}, HTTP: {api}, PostgreSQL: {sql}")
        for side, level in (("Redis", redis), ("PostgreSQL", sql)):
            if level is not None and not _balances(level):
                findings.add(Kind.UNBALANCED, sku, f"{side}: {level}")
        wanted = (received[sku], reserved[sku], sold[sku])
        if redis is not None and (redis.received, redis.reserved, redis.sold) != wanted:
            text = f"received, reserved and sold are {wanted} by the operations, Redis has {redis}"
            findings.add(Kind.MISCOUNTED, sku, text)
    for sku in final.repeated:
        findings.add(Kind.DOUBLED, sku, "an event is in its ledger twice")
    if final.quarantined != final.expected_quarantine:
        findings.add(Kind.QUARANTINE, "quarantine", f"{final.quarantined}, forged were {final.expected_quarantine}")
    _check_moments(history, final.clock_ahead_s + CLOSE_S, findings)


def _balances(level: Level) -> bool:
    counts = (level.available, level.reserved, level.sold)
    return min(counts) >= 0 and sum(counts) == level.received


def _received(history: History, final: Final, findings: Findings) -> Counter[str]:
    """Units that came in, by the adjustments that are there; each of them is in the ledger once, or was refused."""
    rows = Counter(row.reference for row in final.ledger if row.kind == "adjust")
    received: Counter[str] = Counter()
    for operation in history.of(Act.ADJUST):
        times = rows[operation.mark]
        if operation.granted is None:
            if times:
                findings.add(Kind.EFFECT_OF_REFUSED, operation.mark, f"it is in the ledger {times} times")
        elif times == 0:
            findings.lose(operation, operation.mark, "it is not in the ledger")
        elif times > 1:
            findings.add(Kind.DOUBLED, operation.mark, f"it is in the ledger {times} times")
        if times:
            received.update(dict(operation.lines))
    return received


def _claimed(final: Final) -> tuple[Counter[str], Counter[str]]:
    """Units that holds and carts keep, and units that are sold, as HTTP and PostgreSQL list them one by one."""
    reserved: Counter[str] = Counter()
    sold: Counter[str] = Counter()
    for hold in final.sql_holds.values():
        if hold.status == "held":
            reserved.update(dict(hold.lines))
        elif hold.status == "committed":
            sold.update(dict(hold.lines))
    for _, lines in final.carts:
        reserved.update(dict(lines))
    for order in final.sql_orders:
        if order.stock == "sold":
            sold.update(dict(order.units))
    return reserved, sold


class _Claim(Struct, frozen=True):
    """Units that somebody was promised from one moment to another, whatever clock is asked."""

    sku: str
    units: int
    from_s: float
    until_s: float


def _check_moments(history: History, early_s: float, findings: Findings) -> None:
    """At no moment were more units of a SKU promised than had come in by then."""
    changes: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for claim in (
        *_hold_claims(history, early_s, findings),
        *_cart_claims(history, early_s, findings),
        *_supplies(history, findings),
    ):
        if claim.from_s < claim.until_s:
            changes[claim.sku].append((claim.from_s, -claim.units))
            changes[claim.sku].append((claim.until_s, claim.units))
    for sku, moments in changes.items():
        left = 0
        for at_s, units in sorted(moments, key=lambda moment: (moment[0], -moment[1])):
            left += units
            if left < 0 and at_s < FOREVER_S:
                findings.add(Kind.OVERSOLD, sku, f"{-left} more than there were were promised at {at_s:.3f}")
                break


def _supplies(history: History, findings: Findings) -> Iterator[_Claim]:
    """Units that came in are there from the first request for them on, those written off are gone once that is told."""
    for operation in history.of(Act.ADJUST):
        if operation.granted is None or operation.number in findings.lost:
            continue
        for sku, units in operation.lines:
            yield _Claim(sku, -units, operation.began_s if units > 0 else operation.granted_s, FOREVER_S)


def _hold_claims(history: History, early_s: float, findings: Findings) -> Iterator[_Claim]:
    """From the answer of a hold to its deadline, or to the first request to release it, or for ever."""
    later: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history.of(Act.COMMIT, Act.RELEASE, Act.EXTEND):
        if operation.number not in findings.lost:
            later[operation.target].append(operation)
    for operation in history.of(Act.RESERVE):
        answer = operation.granted
        if answer is None or operation.number in findings.lost:
            continue
        until_s = _promised_until(answer, later[answer.id], early_s)
        for sku, units in answer.lines:
            yield _Claim(sku, units, operation.granted_s, until_s)


def _promised_until(answer: Answer, later: list[Operation], early_s: float) -> float:
    until_s = answer.expires_s - early_s
    for each in later:
        if each.act is Act.COMMIT and each.granted is not None:
            until_s = FOREVER_S
        elif each.act is Act.EXTEND and each.granted is not None and each.granted_s < until_s:
            until_s = max(until_s, each.granted.expires_s - early_s)
    releases = (_first_whole(each.attempts) for each in later if each.act is Act.RELEASE)
    return min([until_s, *releases])


def _cart_claims(history: History, early_s: float, findings: Findings) -> Iterator[_Claim]:
    """From the answer that put units into a cart on: for ever where they were sold, else to what may give them back."""
    checkouts = {each.target: each for each in history.of(Act.CHECK_OUT) if each.granted is not None}
    payments: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history.of(Act.PAY):
        payments[operation.target].append(operation)
    for operation in history.of(Act.ADD_ITEM):
        answer = operation.granted
        if answer is None or operation.number in findings.lost:
            continue
        until_s = answer.expires_s - early_s
        checkout = checkouts.get(operation.target)
        if checkout is not None and checkout.granted is not None and checkout.number not in findings.lost:
            news = payments[checkout.granted.id]
            if checkout.wanted == "captured" or any(_is_sale(each, findings) for each in news):
                until_s = FOREVER_S
        for each in payments[checkout.granted.id] if checkout is not None and checkout.granted is not None else ():
            if each.wanted in ("failed", "canceled"):
                until_s = min(until_s, _first_whole(each.attempts))
        for sku, units in operation.lines:
            yield _Claim(sku, units, operation.granted_s, until_s)


def _is_sale(payment: Operation, findings: Findings) -> bool:
    return payment.wanted == "succeeded" and payment.granted is not None and payment.number not in findings.lost


def _first_whole(attempts: tuple[Attempt, ...]) -> float:
    return min((attempt.began_s for attempt in attempts if attempt.is_whole), default=FOREVER_S)
