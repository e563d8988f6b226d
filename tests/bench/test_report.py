"""The report: a table that says what was met, and charts that any browser can read."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks.findings.figures import Chart, Figure, Result, ratio, spread
from benchmarks.findings.machine import Machine
from benchmarks.findings.report import JSON, MARKDOWN, Report, render, write
from benchmarks.findings.svg import MAX_POINTS, draw, nice_step, thin
from tests.bench.test_figures import turn

SVG = "{http://www.w3.org/2000/svg}"
MACHINE = Machine(
    system="Linux 6",
    processor="a processor",
    cores=2,
    memory_bytes=8 * 2**30,
    filesystem="ext4",
    python="CPython 3.13.1",
    client="wrk 4.2",
    commit="abc",
    libraries={"uvicorn": "1"},
    servers={"PostgreSQL": "18"},
    settings={"appendfsync": "always"},
)
CHART = Chart("lag", "Lag & more", "seconds", "ms", {"Holdfast": [(0.0, 1.0), (1.0, 5.0)], "noop": [(0.0, 2.0)]})


def report(*figures: Figure, broken: tuple[str, ...] = ()) -> Report:
    result = Result(
        scenario="hot",
        title="holds",
        counted="holds",
        figures=list(figures),
        turns=[turn("holdfast", 1_000), turn("holdfast", 3_000), turn("noop", 4_000)],
        charts=[CHART],
        broken=list(broken),
    )
    return Report("2026-01-02 03:04 UTC", 1.0, MACHINE, {"rounds": 4}, [result])


@pytest.mark.parametrize(("value", "verdict"), [(0.4, "**missed**"), (0.6, "met"), (0.8, "aim")])
def test_a_figure_stands_beside_its_target(value: float, verdict: str) -> None:
    page = render(report(ratio("holds, over noop", spread([value - 0.05, value, value + 0.05]), "hot", "at dawn")))
    (row,) = [line for line in page.splitlines() if "holds on one hot SKU" in line]
    assert f"| **{value:.2f} ×** | {value - 0.05:.2f} … {value + 0.05:.2f} × | {verdict} | at dawn |" in row  # noqa: RUF001


def test_a_missed_target_is_found_and_a_met_one_is_not() -> None:
    missed, met = ratio("a", spread([0.1]), "hot"), ratio("b", spread([1.0]), "populated")
    assert report(missed, met).missed == [missed]


def test_a_broken_promise_stands_above_everything_else() -> None:
    page = render(report(broken=("hot-00000: oversold",)))
    assert page.index("Promises were broken") < page.index("hot-00000: oversold") < page.index("| machine |")
    assert report(broken=("it",)).broken == ["hot: it"]


def test_the_rates_of_a_contender_are_told_as_a_median_with_their_spread() -> None:
    assert "| holdfast | 2,000 | 1,000 … 3,000 |" in render(report())


def test_a_report_can_be_read_again(tmp_path: Path) -> None:
    written = report(ratio("holds, over noop", spread([0.5]), "hot"))
    write(written, tmp_path)
    assert msgspec.json.decode((tmp_path / JSON).read_bytes(), type=Report) == written
    assert (tmp_path / MARKDOWN).read_text(encoding="utf-8") == render(written)
    assert (tmp_path / "lag.svg").exists()


def test_a_chart_is_well_formed_and_has_a_line_and_a_name_for_each() -> None:
    root = ET.fromstring(draw(CHART))  # noqa: S314 - our own
    assert len(root.findall(f"{SVG}polyline")) == 2
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert {"Lag & more", "seconds", "ms", "Holdfast", "noop"} <= set(words)


@pytest.mark.parametrize("log", [False, True])
def test_every_point_is_inside_the_picture(log: bool) -> None:  # noqa: FBT001
    lines = {"a": [(1.0, 0.2), (64.0, 5_000.0), (256.0, 0.0)]}
    root = ET.fromstring(draw(Chart("c", "c", "x", "y", lines, log_x=log, log_y=log)))  # noqa: S314 - our own
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for circle in root.findall(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height


def test_a_chart_of_nothing_but_zeros_can_be_drawn() -> None:
    ET.fromstring(draw(Chart("c", "c", "x", "y", {"a": [(0.0, 0.0), (1.0, 0.0)]})))  # noqa: S314 - our own


@pytest.mark.parametrize(("highest", "step"), [(7, 1), (8, 2), (36, 10), (0.6, 0.1), (1_250, 200)])
def test_ticks_are_round_numbers(highest: float, step: float) -> None:
    assert nice_step(highest) == pytest.approx(step)


def test_a_long_line_is_thinned_and_keeps_its_peaks() -> None:
    line = [(float(x), 1_000.0 if x == 777 else 1.0) for x in range(2_000)]
    assert len(thin(line)) <= MAX_POINTS
    assert (777.0, 1_000.0) in thin(line)
