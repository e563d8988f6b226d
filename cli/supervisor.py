"""Keeps processes alive: what ends is started again after a growing pause, and all are stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from cli.processes import kill_family
from engine.errors import HoldfastError

TURN_S = 0.05
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
STEADY_AFTER_S = 15.0
LOG_LIMIT_BYTES = 10 * 1024 * 1024
LOG_CHECK_EVERY_S = 5.0


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process to keep alive.

    `start` is called again for every restart. Processes stop in the order of `stop_rank`, those of one rank together;
    one that has not ended `stop_timeout_s` after its `stop_signal` is killed.
    """

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_rank: int
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0


class _Child:
    """What the supervisor knows of one spec: its process, or when to start the next."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.due_at = 0.0
        self.pause_s = 0.0
        self.endings = 0

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid


class Supervisor:
    """Single-threaded: nothing happens but in `add`, `turn` and `stop`, and all of them in the main thread."""

    def __init__(
        self,
        *,
        report: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        steady_after_s: float = STEADY_AFTER_S,
    ) -> None:
        """`report` gets a line for each change of state; `changed` is called when a pid came or went."""
        self._report = report
        self._changed = changed
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._steady_after_s = steady_after_s
        self._children: dict[str, _Child] = {}
        self._hurry = False

    def add(self, spec: ProcessSpec) -> None:
        """Start a process and keep it alive from now on. Raises what its first start raises."""
        child = _Child(spec)
        self._start(child)
        self._children[spec.name] = child
        self._changed()

    def pids(self) -> dict[str, int]:
        """The processes that run now, by name."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    def endings(self) -> dict[str, int]:
        """How often each process has ended unasked."""
        return {name: child.endings for name, child in self._children.items()}

    def turn(self) -> None:
        """Notice what has ended and start what is due, then rest for a moment. Call it for ever."""
        now = time.monotonic()
        for child in self._children.values():
            if child.process is not None and (status := child.process.poll()) is not None:
                self._ended(child, describe_exit(status), now)
            elif child.process is None and now >= child.due_at:
                self._restart(child)
        time.sleep(TURN_S)

    def hurry(self) -> None:
        """From now on `stop` waits for nothing."""
        self._hurry = True

    def stop(self) -> None:
        """Stop everything, rank by rank. What needed killing is reported."""
        for rank in sorted({child.spec.stop_rank for child in self._children.values()}):
            self._stop_together([child for child in self._children.values() if child.spec.stop_rank == rank])
        self._children.clear()

    def _start(self, child: _Child) -> None:
        child.process = child.spec.start()
        child.started_at = time.monotonic()

    def _restart(self, child: _Child) -> None:
        try:
            self._start(child)
        except (OSError, HoldfastError) as error:
            self._ended(child, str(error), time.monotonic())
            return
        self._report(f"{child.spec.name} started again (pid {child.pid})")
        self._changed()

    def _ended(self, child: _Child, reason: str, now: float) -> None:
        steady = child.process is not None and now - child.started_at >= self._steady_after_s
        child.pause_s = (
            self._first_pause_s if steady or child.pause_s == 0 else min(child.pause_s * 2, self._longest_pause_s)
        )
        child.process = None
        child.due_at = now + child.pause_s
        child.endings += 1
        self._report(f"{child.spec.name} ended ({reason}); starting it again in {child.pause_s:g} s")
        self._changed()

    def _stop_together(self, children: Iterable[_Child]) -> None:
        running = {child.spec.name: child for child in children if child.process is not None}
        for child in running.values():
            _signal(child, child.spec.stop_signal)
        began = time.monotonic()
        while running:
            for name, child in list(running.items()):
                if child.process is None or child.process.poll() is not None:
                    del running[name]
                elif self._hurry or time.monotonic() - began > child.spec.stop_timeout_s:
                    if not self._hurry:
                        self._report(f"{name} did not stop within {child.spec.stop_timeout_s:g} s and was killed")
                    kill_family(child.process.pid)
                    child.process.wait()
            time.sleep(TURN_S / 5)


def _signal(child: _Child, stop_signal: signal.Signals) -> None:
    if child.process is not None and child.process.poll() is None:
        child.process.send_signal(stop_signal)


def describe_exit(status: int) -> str:
    """An exit status as Popen gives it, in words."""
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


class LogBound:
    """Keeps the files of a directory of logs below a size, with one older part each (`NAME.log.1`)."""

    def __init__(self, directory: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._due_at = 0.0

    def enforce(self) -> None:
        """Look once in a while. A log is emptied in place, for its writer keeps it open (in append mode)."""
        now = time.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + LOG_CHECK_EVERY_S
        for path in self._directory.glob("*.log"):
            with suppress(OSError):
                if path.stat().st_size > self._limit_bytes:
                    older = path.with_name(f"{path.name}.1")
                    older.write_bytes(path.read_bytes()[-self._limit_bytes :])
                    os.truncate(path, 0)
