"""The system under fault: a `holdfast up` of the run's own, its processes by role, and what is done to them by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from cli.embedded_server import choose_port
from cli.processes import kill_family, spawn
from cli.runtime import Runtime, read_runtime

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
STOP_S = 60.0
POLL_S = 0.02


class NotThereError(RuntimeError):
    """Something did not come (back) in time."""


async def until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Wait until something is so. Raises NotThereError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise NotThereError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(POLL_S)


class System:
    """One `holdfast up` on a directory, started and ended by its pid; ends with this process, too."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.port = choose_port()
        self.api_url = f"http://127.0.0.1:{self.port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        self.environment = {
            **inherited,
            "HOLDFAST_DATA_DIR": str(data_dir),
            "HOLDFAST_PORT": str(self.port),
            "HOLDFAST_DRAIN_TIMEOUT_S": "2",
            "HOLDFAST_ACCESS_LOG": "false",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start, and wait until it says that it is ready. Raises NotThereError."""
        self.process = spawn(
            [sys.executable, "-m", "cli.main", "up", "--no-demo"],
            log_path=self.data_dir / "up.log",
            environment=self.environment,
            directory=ROOT,
        )
        pid = self.process.pid
        await until(lambda: self._is_up(pid), f"`up` is ready; see {self.data_dir}", START_S)

    def _is_up(self, pid: int) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise NotThereError(f"`up` ended: {(self.data_dir / 'up.log').read_text()[-2_000:]}")
        runtime = read_runtime(self.data_dir)
        return runtime is not None and runtime.pids.supervisor == pid

    def runtime(self) -> Runtime:
        runtime = read_runtime(self.data_dir)
        if runtime is None:
            raise NotThereError("there is no runtime.json")
        return runtime

    def pids(self, role: str) -> list[int]:
        """The processes of a role: api, flush, housekeeping, scheduler, redis, postgres, supervisor or everything."""
        pids = self.runtime().pids
        named: dict[str, list[int | None]] = {
            "api": [*pids.api],
            "flush": [*pids.worker[:1]],
            "housekeeping": [*pids.worker[1:]],
            "scheduler": [pids.scheduler],
            "redis": [pids.redis],
            "postgres": [pids.postgres],
            "supervisor": [pids.supervisor],
        }
        wanted = [pid for each in named.values() for pid in each] if role == "everything" else named[role]
        return [pid for pid in wanted if pid is not None]

    def children(self, role: str) -> list[int]:
        """The descendants of a role's processes: PostgreSQL's backends, a worker's job."""
        found: list[int] = []
        for pid in self.pids(role):
            with suppress(psutil.Error):
                found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return found

    def signal(self, pids: Iterable[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, role: str) -> None:
        """SIGKILL to a role's processes, not to their children."""
        self.signal(self.pids(role), signal.SIGKILL)

    async def start_again(self) -> None:
        """`up` once more, after the one before has ended."""
        if self.process is not None:
            await asyncio.to_thread(self.process.wait)
        await self.start()

    @asynccontextmanager
    async def down(self, role: str) -> AsyncIterator[None]:
        """A role's process killed, and kept down while the body runs: its supervisor stands still."""
        supervisor, doomed = self.pids("supervisor"), self.pids(role)
        self.signal(supervisor, signal.SIGSTOP)
        try:
            self.signal(doomed, signal.SIGKILL)
            await self.wait_gone(doomed)
            yield
        finally:
            self.signal(supervisor, signal.SIGCONT)

    async def wait_gone(self, pids: Iterable[int]) -> None:
        for pid in pids:
            await until(lambda pid=pid: is_gone(pid), f"process {pid} has ended", 30.0)  # type: ignore[misc]

    async def reconcile(self) -> None:
        """Have the system's own audit compare everything. Raises NotThereError with what it says."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli.main", "reconcile", env=self.environment, cwd=ROOT, stdout=subprocess.PIPE
        )
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise NotThereError(f"`holdfast reconcile`: {said.decode()}")

    async def stop(self) -> None:
        """Stop everything in order; what does not is killed, each by its pid."""
        if self.process is None or self.process.poll() is not None:
            return
        with suppress(NotThereError):
            self.signal([*self.pids("everything"), *self.children("postgres")], signal.SIGCONT)
        self.process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(self.process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            kill_family(self.process.pid)
            self.process.wait()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True
