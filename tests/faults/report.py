"""The table of a run: each fault, how often it was injected, how soon all was well again, and what was lost."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Sequence

from tests.faults.run import Round, Seen

HEAD = ("fault", "times", "answers again (median, worst)", "applied again (median, worst)", "lost")


def rows(rounds: Sequence[Round]) -> list[tuple[str, ...]]:
    """One row a fault."""
    seen: defaultdict[str, list[Seen]] = defaultdict(list)
    for each in rounds:
        for fault in each.faults:
            seen[fault.fault].append(fault)
    return [
        (
            name,
            str(len(of_fault)),
            _spread([fault.ready.answers_s for fault in of_fault]),
            _spread([fault.ready.applied_s for fault in of_fault]),
            _lost(of_fault),
        )
        for name, of_fault in sorted(seen.items())
    ]


def _lost(seen: Sequence[Seen]) -> str:
    """What a fault cost, where PostgreSQL could not know of it yet; anything else would be a violation."""
    lost = sum(each.lost for each in seen)
    return f"{lost} not yet flushed" if lost else "nothing"


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s, {max(seconds):.2f} s"


def table(rounds: Sequence[Round], skipped: Collection[str]) -> str:
    """For a terminal."""
    lines = [HEAD, *rows(rounds)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(["", *text, *(f"{name}: skipped, this machine cannot do it" for name in sorted(skipped))])


def markdown(rounds: Sequence[Round], skipped: Collection[str]) -> str:
    """For a document."""
    lines = [HEAD, ("---",) * len(HEAD), *rows(rounds), *((name, "skipped", "", "", "") for name in sorted(skipped))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + summary(rounds, None) + "\n"


def summary(rounds: Sequence[Round], seed: int | None) -> str:
    """What was asked and found, in one sentence or two."""
    violations = sum(len(each.verdict.violations) + len(each.complaints) for each in rounds)
    lost = sum(len(each.verdict.lost) for each in rounds)
    operations = sum(each.operations for each in rounds)
    granted = sum(each.granted for each in rounds)
    again = sum(each.asked_again for each in rounds)
    of_seed = "" if seed is None else f", seed {seed}"
    return (
        f"{operations:,} operations, {granted:,} granted, {again:,} asked again; violations: {violations}; "
        f"lost where that is excused: {lost}{of_seed}"
    )
