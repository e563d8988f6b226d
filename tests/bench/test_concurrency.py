"""The scenario `concurrency`: a line for each contender, and ratios at 64 connections."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from benchmarks.findings.figures import Turn
from benchmarks.harness.stage import Options, Stage
from benchmarks.harness.turns import Contender
from benchmarks.load.plan import Plan
from benchmarks.scenarios import concurrency
from tests.bench.test_figures import turn

SPEEDS = {"holdfast": 100, "noop": 200, "row_lock": 10, "unit_rows": 20}


class Scripted(Stage):
    """Nothing is started: every turn is as fast as its contender is, once for each connection."""

    def __init__(self, options: Options, refused: int = 0) -> None:
        super().__init__(options)
        self.refused = refused
        self.removed: list[str] = []

    def stocked(self, *_: object, **__: object) -> SimpleNamespace:  # type: ignore[override]
        return SimpleNamespace(name="holdfast")

    def peer(self, name: str, *_: object) -> SimpleNamespace:  # type: ignore[override]
        return SimpleNamespace(name=name)

    def remove_peers(self, *names: str) -> None:
        self.removed += names

    def turn(self, contender: Contender, plan: Plan, *_: object, **__: object) -> tuple[Turn, None]:  # type: ignore[override]
        told = turn(contender.name, SPEEDS[contender.name] * plan.connections)
        return replace(told, refused=self.refused), None


def test_every_contender_has_a_line_and_a_ratio_at_64_connections() -> None:
    stage = Scripted(Options(rounds=4))
    result = concurrency.run(stage)
    assert {figure.what: figure.spread.value for figure in result.figures} == {
        "holds at 64 connections, over noop": pytest.approx(0.5),
        "holds at 64 connections, over row_lock": pytest.approx(10),
        "holds at 64 connections, over unit_rows": pytest.approx(5),
    }
    assert all(figure.target is None for figure in result.figures)
    assert len(result.rates("holdfast, 64 connections")) == 3
    assert len(result.rates("holdfast, 1 connection")) == 1
    (chart,) = result.charts
    assert list(chart.lines) == ["Holdfast", "noop", "row_lock", "unit_rows"]
    assert chart.lines["row_lock"] == [(1, 10), (8, 80), (64, 640), (256, 2560)]
    assert stage.removed == ["row_lock", "unit_rows"]
    assert result.broken == []


def test_only_the_peers_that_are_asked_for_are_measured() -> None:
    result = concurrency.run(Scripted(Options(rounds=2, against=("noop", "per_request_lua"))))
    assert [figure.what for figure in result.figures] == ["holds at 64 connections, over noop"]
    assert list(result.charts[0].lines) == ["Holdfast", "noop"]


def test_a_peer_that_runs_out_of_units_is_no_comparison() -> None:
    assert concurrency.run(Scripted(Options(rounds=2), refused=1)).broken
