"""The report of a run: JSON for scripts, Markdown for people, and the charts beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.findings.figures import Figure, Result, Spread, Turn, spread
from benchmarks.findings.machine import Machine
from benchmarks.findings.svg import draw
from benchmarks.findings.targets import TARGETS, is_met, reaches, target_of

JSON, MARKDOWN = "results.json", "results.md"
ROLES = ("api", "redis", "postgres", "worker")


class Report(Struct, frozen=True):
    """One run."""

    began_at: str
    took_s: float
    machine: Machine
    options: dict[str, object]
    results: list[Result]

    @property
    def broken(self) -> list[str]:
        """Promises that did not hold."""
        return [f"{result.scenario}: {told}" for result in self.results for told in result.broken]

    @property
    def missed(self) -> list[Figure]:
        """Figures on the wrong side of their target."""
        return [figure for result in self.results for figure in result.figures if not is_met(figure)]


def write(report: Report, folder: Path) -> None:
    """Write everything into a folder, over what was there of the same scenarios."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    (folder / MARKDOWN).write_text(render(report), encoding="utf-8")
    for result in report.results:
        for chart in result.charts:
            (folder / f"{chart.name}.svg").write_text(draw(chart), encoding="utf-8")


def render(report: Report) -> str:
    """The Markdown page."""
    return "\n".join([*_head(report), "", *_targets(report), *_scenarios(report), ""])


def _head(report: Report) -> Iterator[str]:
    machine = report.machine
    yield "# Benchmark results"
    yield ""
    commit = machine.commit or "unknown"
    yield f"{report.began_at}, {report.took_s:.0f} s, commit {commit}. Written by `holdfast bench`."
    yield ""
    if report.broken:
        yield "**Promises were broken in this run: its figures count for nothing.**"
        yield ""
        yield from (f"- {told}" for told in report.broken)
    else:
        yield "After each scenario the books balanced: nothing oversold, nothing lost, PostgreSQL equal to Redis."
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    yield f"| machine | {machine.cores} cores, {machine.processor}, {machine.memory_bytes / 2**30:.0f} GiB |"
    yield f"| system | {machine.system}, data on {machine.filesystem}, {machine.python} |"
    yield f"| servers | {_listed(machine.servers)} |"
    yield f"| libraries | {_listed(machine.libraries)} |"
    yield f"| settings | {_listed(machine.settings)} |"
    yield f"| load | {machine.client}; {_listed(report.options)} |"


def _targets(report: Report) -> Iterator[str]:
    yield "| what | at least | aim | measured | spread | | with |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for result in report.results:
        for figure in result.figures:
            target = target_of(figure)
            if target is None:
                continue
            aimed = reaches(figure.spread.value, target.aim, is_ceiling=target.is_ceiling)
            verdict = "aim" if aimed else "met" if is_met(figure) else "**missed**"
            side = "≤ " if target.is_ceiling else ""
            least, aim, value = (
                _value(number, target.unit) for number in (target.least, target.aim, figure.spread.value)
            )
            shown = _range(figure.spread, target.unit)
            yield f"| {target.what} | {side}{least} | {side}{aim} | **{value}** | {shown} | {verdict} | {figure.note} |"
    left = len(TARGETS) - len({f.target for result in report.results for f in result.figures if f.target})
    if left:
        yield ""
        yield f"{left} targets belong to scenarios that were not run."


def _scenarios(report: Report) -> Iterator[str]:
    for result in report.results:
        yield ""
        yield f"## `{result.scenario}`: {result.title}"
        yield ""
        if result.turns:
            yield from _rates(result)
            yield ""
        for figure in result.figures:
            told = f" ({figure.note})" if figure.note else ""
            shown = _value(figure.spread.value, figure.unit)
            low_high = f", {_range(figure.spread, figure.unit)}" if figure.spread.low < figure.spread.high else ""
            yield f"- {figure.what}: **{shown}**{low_high}{told}"
        yield from (f"- {note}" for note in result.notes)
        for chart in result.charts:
            yield ""
            yield f"![{chart.title}]({chart.name}.svg)"


def _rates(result: Result) -> Iterator[str]:
    roles = [role for role in ROLES if any(role in turn.cpu_us for turn in result.turns)]
    what = result.counted or "units"
    yield f"| | {what} a second | spread | p50 | p99 | " + " | ".join(f"{role} µs" for role in roles) + " | client |"
    yield "| --- | --- | --- | --- | --- | " + " | ".join("---" for _ in roles) + " | --- |"
    for name in dict.fromkeys(turn.contender for turn in result.turns):
        turns = [turn for turn in result.turns if turn.contender == name]
        rate = spread([turn.rate for turn in turns])
        costs = " | ".join(_cost(turns, role) for role in roles)
        waits = " | ".join(_wait(turns, field) for field in ("p50_ms", "p99_ms"))
        busy = max(turn.client_busy for turn in turns)
        yield (
            f"| {name} | {rate.value:,.0f} | {rate.low:,.0f} … {rate.high:,.0f} | {waits} | {costs} "
            f"| {turns[0].client}, {busy:.0%} busy |"
        )


def _cost(turns: list[Turn], role: str) -> str:
    found = [turn.cpu_us[role] for turn in turns if role in turn.cpu_us]
    return f"{spread(found).value:.1f}" if found else ""


def _wait(turns: list[Turn], field: str) -> str:
    value = spread([getattr(turn, field) for turn in turns]).value
    return f"{value:.2f} ms" if value else ""


def _value(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - three digits tell enough
    return f"{value:,.{digits}f} {unit}".rstrip()


def _range(found: Spread, unit: str) -> str:
    return f"{_value(found.low, '')} … {_value(found.high, unit)}"


def _listed(values: object) -> str:
    assert isinstance(values, dict)  # noqa: S101 - for the type checker
    return ", ".join(f"{name} {value}" for name, value in values.items())
