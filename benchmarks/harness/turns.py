"""Turns: contenders are loaded one after the other, round after round, so that each round's machine is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from benchmarks.findings.figures import Turn
from benchmarks.harness.cpu import Roles, cpu_seconds, used_between
from benchmarks.load.outcome import Outcome
from benchmarks.load.plan import Plan
from benchmarks.load.run import run

Count = Callable[[Outcome], int]
"""How much work an outcome is."""


class Contender(Protocol):
    """What takes turns."""

    name: str

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def roles(self) -> Roles:
        """Its processes."""

    def settle(self) -> float:
        """Wait until nothing of the last turn is left to do; returns the seconds it took."""


Finished = Callable[[Contender, Outcome], None]


def take_turn(
    contender: Contender, plan: Plan, count: Count, finished: Finished, *, bundled: bool = False
) -> tuple[Turn, Outcome]:
    """Load one contender with a plan that is made for it; `finished` is told before it settles."""
    roles = contender.roles()
    before = cpu_seconds(roles)
    outcome = run(plan, bundled=bundled)
    after = cpu_seconds(roles)
    finished(contender, outcome)
    settled_s = contender.settle()
    done = count(outcome)
    turn = Turn(
        contender=contender.name,
        rate=done / outcome.seconds,
        seconds=outcome.seconds,
        granted=outcome.granted,
        refused=outcome.refused,
        faults=outcome.faults,
        p50_ms=outcome.percentile_ms(50),
        p99_ms=outcome.percentile_ms(99),
        p999_ms=outcome.percentile_ms(99.9),
        cpu_us=used_between(before, after, done),
        client=outcome.client,
        client_busy=outcome.busy,
        settled_s=round(settled_s, 3),
    )
    return turn, outcome


def in_turns(takes: Sequence[Callable[[], Turn]], rounds: int) -> list[Turn]:
    """Every contender's turn once a round; the first round is thrown away."""
    turns: list[Turn] = []
    for number in range(rounds):
        fresh = [take() for take in takes]
        if number > 0:
            turns += fresh
    return turns
