"""Worker and scheduler processes, as a supervisor starts them, and what a test waits for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from cli.processes import kill_family, spawn
from engine.settings import Settings
from persistence.flush import read_offset
from tests.system import System

ROOT = Path(__file__).resolve().parents[2]
FAMILY_WAIT_S = 10.0

RunOnce = Callable[[], Awaitable[None]]
"""Runs a job in the test's process."""


class Job:
    """One process of `jobs`, and the horse that it forks for each job."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log_path = log

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def horses(self) -> list[psutil.Process]:
        """The processes that work on a job just now."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        """SIGKILL to the worker and to its horse, which is in a group of its own."""
        kill_family(self.process.pid)
        self.process.wait()

    def end(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, and the status with which it exits."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


class Processes:
    """Starts job processes with the settings in their environment, and knows all that it started."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._started: list[Job] = []

    def worker(self, queue: str, **changed: str) -> Job:
        return self._start(f"worker-{queue}", ("jobs.worker", queue), changed)

    def scheduler(self, **changed: str) -> Job:
        return self._start("scheduler", ("jobs.scheduler",), changed)

    def kill_all(self) -> None:
        for job in self._started:
            kill_family(job.process.pid)
            job.process.wait()

    def _start(self, name: str, module: tuple[str, ...], changed: dict[str, str]) -> Job:
        log = self._directory / f"{len(self._started)}-{name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
        environment = {**inherited, **self._settings.to_environment(), **changed}
        process = spawn(
            [sys.executable, "-m", *module],
            log_path=log,
            environment=environment,
            death_signal=signal.SIGKILL,
            directory=ROOT,
        )
        job = Job(process, log)
        self._started.append(job)
        return job


async def horse_of(worker: Job) -> psutil.Process:
    """The process that works on the worker's job, as soon as there is one."""

    seen: list[psutil.Process] = []

    async def is_at_work() -> bool:
        seen[:] = worker.horses  # looked at once: between two looks one job may make way for the next
        return bool(seen)

    await until(is_at_work, "a job is at work")
    return seen[0]


async def until(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 20.0) -> float:
    """Wait until something is so; returns the seconds that it took."""
    started = time.monotonic()
    while not await condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def applied(system: System, timeout_s: float = 20.0) -> float:
    """Wait until PostgreSQL has applied every event that is in the log now; returns the seconds that it took."""
    seq = (await system.shard.backlog()).seq

    async def is_applied() -> bool:
        async with system.pool.acquire() as connection:
            offset = await read_offset(connection, system.keys.shard)
        return offset is not None and offset.seq >= seq

    return await until(is_applied, f"PostgreSQL applied event {seq}", timeout_s)


async def assert_exactly_once(system: System) -> None:
    """PostgreSQL equals Redis, and every event of the log left its row once. For holds of one line each."""
    found = await system.audit(wait_s=20)
    assert found.is_clean, found
    rows = await system.pool.fetchval("SELECT count(*) FROM stock_ledger")
    assert rows == found.seq
    places = await system.pool.fetchval("SELECT count(DISTINCT (epoch, seq)) FROM stock_ledger")
    assert places == found.seq
