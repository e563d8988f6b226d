"""The whole harness, small: systems of its own, turns, promises and a report."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import bench, replay
from benchmarks.bench import DEFAULT, FULL, QUICK, options_of
from benchmarks.destinations import check_file, check_folder
from benchmarks.findings.figures import Figure, Result, ratio, spread
from benchmarks.harness.children import HarnessError
from benchmarks.harness.stage import Stage
from benchmarks.order_lines import REQUIRED
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.zipf import CHOICES, choices
from cli.bench import command
from tests.bench.test_report import MACHINE

ROOT = Path(__file__).parents[2]


def test_a_quick_run_of_one_scenario_measures_both_and_keeps_its_promises(tmp_path: Path) -> None:
    arguments = ["hot", "--quick", "--against", "noop", "--json", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "bench", *arguments], cwd=ROOT, capture_output=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    (result,) = report["results"]
    assert result["broken"] == []
    assert [turn["contender"] for turn in result["turns"]] == ["holdfast", "noop"]
    assert all(turn["granted"][0] > 0 and turn["refused"] == turn["faults"] == 0 for turn in result["turns"])
    assert set(result["turns"][0]["cpu_us"]) == {"api", "redis", "postgres", "worker"}
    assert result["turns"][0]["cpu_us"]["redis"] > 0
    assert [figure["target"] for figure in result["figures"]] == ["hot"]
    assert report["machine"]["settings"]["Redis appendfsync"] == "always"
    assert report["machine"]["settings"]["HOLDFAST_AUTH"] == "keys"
    assert (tmp_path / "results.md").exists()


MET, MISSED = ratio("holds", spread([0.9]), "hot"), ratio("holds", spread([0.1]), "hot")


@pytest.mark.parametrize(
    ("figure", "broken", "options", "status"),
    [
        (MET, [], [], 0),
        (MET, ["oversold"], [], 1),
        (MISSED, [], [], 0),
        (MISSED, [], ["--strict"], 1),
    ],
)
def test_a_broken_promise_fails_a_run_and_a_missed_target_only_a_strict_one(
    figure: Figure,
    broken: list[str],
    options: list[str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Result(scenario="hot", title="holds", figures=[figure], broken=broken)
    monkeypatch.setitem(SCENARIOS, "hot", ("holds", lambda _: told))
    monkeypatch.setattr(bench, "describe", lambda *_, **__: MACHINE)
    monkeypatch.setattr(Stage, "any_system", lambda _: None)
    assert CliRunner().invoke(command, ["hot", "--out", str(tmp_path), *options]).exit_code == status
    assert (tmp_path / "results.json").exists()


def test_what_cannot_be_measured_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: Stage) -> Result:
        raise HarnessError("no port is free")

    monkeypatch.setitem(SCENARIOS, "hot", ("holds", fail))
    done = CliRunner().invoke(command, ["hot", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "Error: no port is free" in done.stderr


def test_every_scenario_is_a_command_in_either_spelling() -> None:
    runner = CliRunner()
    for name in (*SCENARIOS, "all"):
        for spelling in (name, name.replace("_", "-")):
            assert runner.invoke(command, [spelling, "--help"]).exit_code == 0
    assert {"drop", "replay"} <= set(command.commands)


def test_options_that_are_given_stand_over_those_of_the_size() -> None:
    assert options_of(quick=False, full=False) == DEFAULT
    assert options_of(quick=True, full=False, rounds=None, against=()) == QUICK
    told = options_of(quick=False, full=True, holds=5, against=("noop",))
    assert (told.holds, told.against, told.growth) == (5, ("noop",), FULL.growth)


def test_the_first_skus_of_zipf_are_wanted_most() -> None:
    wanted = choices()
    first, second = wanted.count("zipf-00000"), wanted.count("zipf-00001")
    assert len(wanted) == CHOICES
    assert wanted == choices()
    assert 1.7 < first / second < 2.3


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    file = tmp_path / "orders.csv"
    file.write_text(f"{','.join(REQUIRED)}\n1,A,6,2010-12-01T08:26:00,2.55,17850\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("arguments", [["replay", "$FILE", "--json"], ["hot", "--out"]])
def test_a_report_that_could_not_be_written_is_refused_before_anything_runs(
    arguments: list[str], orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr(replay, "read_plan", run)
    monkeypatch.setitem(SCENARIOS, "hot", ("holds", run))
    *before, option = [str(orders) if argument == "$FILE" else argument for argument in arguments]
    done = CliRunner().invoke(command, [*before, option, str(orders / "below")])
    assert done.exit_code == 1
    assert f"{option} {orders / 'below'} cannot be written (Not a directory): name another place" in done.stderr


def test_a_check_whether_a_report_can_be_written_leaves_everything_as_it_was(tmp_path: Path) -> None:
    there, fresh = tmp_path / "there.json", tmp_path / "fresh.json"
    there.write_text("earlier", encoding="utf-8")
    check_file(there, "--json")
    check_file(fresh, "--json")
    check_folder(tmp_path / "a" / "b", "--out")
    assert there.read_text(encoding="utf-8") == "earlier"
    assert not fresh.exists()
    assert [*(tmp_path / "a" / "b").iterdir()] == []


def test_a_report_that_cannot_be_written_in_the_end_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(SCENARIOS, "hot", ("holds", lambda _: Result(scenario="hot", title="holds", figures=[MET])))
    monkeypatch.setattr(bench, "describe", lambda *_, **__: MACHINE)
    monkeypatch.setattr(Stage, "any_system", lambda _: None)
    monkeypatch.setattr(bench, "write", fail)
    done = CliRunner().invoke(command, ["hot", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "# Benchmark results" in done.stdout
    assert f"--out {tmp_path} was not written: No space left on device" in done.stderr


@pytest.mark.parametrize("patience", ["0", "-1", "soon", "nan", "inf"])
def test_a_patience_is_more_than_nothing(patience: str, orders: Path) -> None:
    for load in (["drop"], ["replay", str(orders)]):
        done = CliRunner().invoke(command, [*load, "--patience", patience])
        assert done.exit_code == 2
        assert "'--patience'" in done.stderr


@pytest.mark.parametrize("prefix", ["a b", "é", "a/", "x" * 64, "a\n"])
def test_a_prefix_that_no_sku_can_have_is_refused_itself(prefix: str, orders: Path) -> None:
    done = CliRunner().invoke(command, ["replay", str(orders), "--sku-prefix", prefix])
    assert done.exit_code == 2
    assert "'--sku-prefix': must have at most 63 of A-Z a-z 0-9 . _ : -" in done.stderr


def test_without_a_running_system_the_way_to_one_is_said(orders: Path, tmp_path: Path) -> None:
    for load in (["drop"], ["replay", str(orders)]):
        done = CliRunner().invoke(command, [*load, "--data-dir", str(tmp_path)], env={"HOLDFAST_DATABASE_URL": ""})
        assert done.exit_code == 1
        assert "start one (make up), point --data-dir at its data, or give the option" in done.stderr
