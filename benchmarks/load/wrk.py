"""wrk as the load client, where it is installed: the quickest, so it takes least from what it measures."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.load.outcome import Outcome
from benchmarks.load.plan import NUMBER_WIDTH, Plan

SCRIPT = Path(__file__).with_name("wrk.lua")
TIMEOUT_S = 10
_DONE = "DONE "


class WrkError(Exception):
    """Wrk said something that cannot be read."""


class Done(Struct, frozen=True):
    """The line that wrk.lua prints; `latency_us` are pairs of percent and value, corrected by wrk in its own way."""

    us: int
    requests: int
    not_2xx: int
    faults: int
    granted: list[int]
    latency_us: list[tuple[float, int]]


def find_wrk() -> str | None:
    """Where wrk is installed, if it is."""
    return shutil.which("wrk")


def takes(plan: Plan) -> bool:
    """Whether wrk can do it: closed-loop for a time, with nothing told of single answers."""
    return plan.rate is None and plan.limit is None and not plan.collect


def command(wrk: str, plan: Plan, folder: Path) -> list[str]:
    """Write the plan into `folder`, and say how wrk is to be called with it."""
    for number, step in enumerate(plan.steps, 1):
        (folder / f"step-{number}").write_bytes(plan.text(step).encode())
    _write_lines(folder / "steps", [f"{step.granted} {step.prefix}" for step in plan.steps])
    _write_lines(folder / "choices", plan.choices)
    _write_lines(folder / "pool", plan.pool)
    timing = [f"-d{math.ceil(plan.seconds)}s", f"-c{plan.connections}", "-t1", "--timeout", f"{TIMEOUT_S}s"]
    return [wrk, *timing, "-s", str(SCRIPT), plan.url, "--", str(folder), plan.prefix, str(NUMBER_WIDTH)]


def read_output(plan: Plan, text: str, cpu_s: float) -> Outcome:
    """What wrk found. Raises WrkError."""
    lines = [line.removeprefix(_DONE) for line in text.splitlines() if line.startswith(_DONE)]
    if not lines:
        raise WrkError(text.strip() or "wrk said nothing")
    done = msgspec.json.decode(lines[-1], type=Done)
    seconds = done.us / 1_000_000
    return Outcome(
        client="wrk",
        seconds=seconds,
        granted=done.granted,
        refused=done.not_2xx if len(plan.steps) == 1 else max(done.requests - sum(done.granted), 0),
        faults=done.faults,
        percentiles_ms={percent: value / 1000 for percent, value in done.latency_us},
        busy=round(cpu_s / seconds, 3),
    )


def version(wrk: str) -> str:
    """What it calls itself."""
    said = subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    return " ".join((said.stdout + said.stderr).split()[:2])


def _write_lines(path: Path, lines: tuple[str, ...] | list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
