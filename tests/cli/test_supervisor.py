from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.processes import spawn, wait_until
from cli.supervisor import LogBound, ProcessSpec, Supervisor

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
SHORT = "raise SystemExit(3)"


class Stage:
    """A supervisor with quick pauses, and what it said."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines: list[str] = []
        self.supervisor = Supervisor(
            report=self.lines.append, first_pause_s=0.05, longest_pause_s=0.2, steady_after_s=30
        )

    def spec(self, name: str, program: str, *, rank: int = 0, timeout_s: float = 5.0) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            start=lambda: spawn([sys.executable, "-c", program], log_path=self.log(name), environment=os.environ),
            stop_rank=rank,
            stop_timeout_s=timeout_s,
        )

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def turn_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, self.lines
            self.supervisor.turn()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.supervisor.hurry()
    stage.supervisor.stop()


def test_what_is_killed_is_started_again(stage: Stage) -> None:
    stage.supervisor.add(stage.spec("sleeper", SLEEPER))
    first = stage.supervisor.pids()["sleeper"]
    os.kill(first, signal.SIGKILL)
    stage.turn_until(lambda: stage.supervisor.pids().get("sleeper", first) != first)
    assert stage.lines[0] == "sleeper ended (killed by SIGKILL); starting it again in 0.05 s"


def test_the_pause_before_a_restart_doubles_up_to_its_bound(stage: Stage) -> None:
    stage.supervisor.add(stage.spec("short", SHORT))
    stage.turn_until(lambda: stage.supervisor.endings()["short"] == 5)
    pauses = [line.rpartition(" in ")[2] for line in stage.lines if "ended" in line]
    assert pauses == ["0.05 s", "0.1 s", "0.2 s", "0.2 s", "0.2 s"]
    assert "exit status 3" in stage.lines[0]


def test_a_process_that_ran_steadily_starts_again_after_the_shortest_pause(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.supervisor = Supervisor(report=stage.lines.append, first_pause_s=0.05, steady_after_s=0)
    stage.supervisor.add(stage.spec("short", SHORT))
    stage.turn_until(lambda: stage.supervisor.endings()["short"] == 3)
    assert all("in 0.05 s" in line for line in stage.lines if "ended" in line)
    stage.supervisor.stop()


def test_a_start_that_fails_is_tried_again_and_leaves_the_others_alone(stage: Stage) -> None:
    attempts: list[int] = []

    def start() -> subprocess.Popen[bytes]:
        attempts.append(1)
        if len(attempts) == 2:
            raise OSError("no more processes")
        return spawn([sys.executable, "-c", SLEEPER], log_path=stage.log("flaky"), environment=os.environ)

    stage.supervisor.add(ProcessSpec(name="flaky", start=start, stop_rank=0))
    os.kill(stage.supervisor.pids()["flaky"], signal.SIGKILL)
    stage.turn_until(lambda: len(attempts) == 3)
    assert any("no more processes" in line for line in stage.lines)


def test_processes_stop_rank_by_rank(stage: Stage, tmp_path: Path) -> None:
    order = tmp_path / "order"
    farewell = (
        "import signal, sys, time\n"
        "def leave(*_):\n"
        f"    time.sleep(0.1); open({str(order)!r}, 'a').write('{{name}} '); sys.exit(0)\n"
        "signal.signal(15, leave); print('up', flush=True); time.sleep(60)\n"
    )
    for name, rank in (("last", 2), ("first", 0), ("second", 1)):
        stage.supervisor.add(stage.spec(name, farewell.format(name=name), rank=rank))
    stage.turn_until(lambda: all("up" in stage.log(name).read_text() for name in ("first", "second", "last")))
    stage.supervisor.stop()
    assert order.read_text().split() == ["first", "second", "last"]
    assert stage.lines == []


def test_what_ignores_its_stop_signal_is_killed_after_its_time(stage: Stage) -> None:
    stage.supervisor.add(stage.spec("stubborn", STUBBORN, timeout_s=0.2))
    stage.turn_until(lambda: "up" in stage.log("stubborn").read_text())
    stage.supervisor.stop()
    assert stage.lines == ["stubborn did not stop within 0.2 s and was killed"]


def test_what_a_killed_process_forked_into_a_group_of_its_own_goes_with_it(stage: Stage) -> None:
    forks = (
        "import os, signal, time\n"
        "signal.signal(15, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    os.setpgrp(); print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    stage.supervisor.add(stage.spec("worker", forks, timeout_s=0.2))
    stage.turn_until(lambda: stage.log("worker").read_text().endswith("\n"))
    stage.supervisor.stop()
    forked = int(stage.log("worker").read_text())
    assert wait_until(lambda: not is_alive(forked), 5)


def test_a_hurried_stop_waits_for_nothing(stage: Stage) -> None:
    stage.supervisor.add(stage.spec("stubborn", STUBBORN, timeout_s=60))
    stage.turn_until(lambda: "up" in stage.log("stubborn").read_text())
    stage.supervisor.hurry()
    began = time.monotonic()
    stage.supervisor.stop()
    assert time.monotonic() - began < 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_children_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from pathlib import Path; from cli.processes import spawn, wait_until\n"
        f"child = spawn([sys.executable, '-c', {SLEEPER!r}], log_path=Path({str(tmp_path / 'log')!r}),"
        " environment=os.environ)\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as output:
        child = int(output.readline())
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not is_alive(child), 5)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may be there to reap it


def test_a_log_past_its_bound_moves_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "api-1.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 2_000)
        LogBound(tmp_path, limit_bytes=1_000).enforce()
        writer.write(b"after")
    assert path.read_bytes() == b"after"
    assert path.with_name("api-1.log.1").stat().st_size == 1_000
