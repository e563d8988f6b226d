"""Runs a plan in a process of its own: with wrk where that is installed and can do it, else with the bundled client."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

import msgspec

from benchmarks.load import wrk
from benchmarks.load.client import PATIENCE_S
from benchmarks.load.outcome import Outcome
from benchmarks.load.plan import Plan

PROJECT_DIR = Path(__file__).resolve().parents[2]
GRACE_S = 30.0
MAX_LIMITED_S = 600.0


class LoadError(Exception):
    """The load client could not do its work."""


class Load:
    """A load under way; `finish` waits for it. Use it as a context, so that it never outlives an exception."""

    def __init__(self, plan: Plan, *, bundled: bool = False) -> None:
        self._plan = plan
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-load-")
        folder = Path(self._folder.name)
        found = None if bundled or not wrk.takes(plan) else wrk.find_wrk()
        self._is_wrk = found is not None
        if found is None:
            path = folder / "plan.json"
            path.write_bytes(msgspec.json.encode(plan))
            command = [sys.executable, "-m", "benchmarks.load.client", str(path)]
        else:
            command = wrk.command(found, plan, folder)
        self._cpu_s = _children_cpu_s()
        self._process = subprocess.Popen(
            command,
            cwd=PROJECT_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            if self._process.poll() is None:
                self._process.kill()
        self._folder.cleanup()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def finish(self) -> Outcome:
        """What came of it. Raises LoadError."""
        plan = self._plan
        patience_s = (plan.seconds if plan.limit is None else MAX_LIMITED_S) + PATIENCE_S + GRACE_S
        try:
            output, errors = self._process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            raise LoadError(f"the load client did not end within {patience_s:.0f} s") from None
        if self._process.returncode:
            raise LoadError(f"the load client failed: {errors.decode(errors='replace')[-2_000:]}")
        if self._is_wrk:
            try:
                return wrk.read_output(plan, output.decode(), _children_cpu_s() - self._cpu_s)
            except wrk.WrkError as error:
                raise LoadError(f"wrk: {error}") from None
        return msgspec.json.decode(output, type=Outcome)


def run(plan: Plan, *, bundled: bool = False) -> Outcome:
    """Run a plan to its end. Raises LoadError."""
    with Load(plan, bundled=bundled) as load:
        return load.finish()


def _children_cpu_s() -> float:
    """The CPU time of all our children that have ended: a client's, once it did; the servers live on."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
