"""Servers of the session, an engine in the test's process, and job processes that the test starts and ends."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.settings import Settings
from jobs.reconcile import reconcile
from tests.jobs.processes import Processes, RunOnce
from tests.system import System, open_system


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings(clean_redis_url: str, clean_database_url: str) -> Settings:
    return Settings(
        redis_url=clean_redis_url, database_url=clean_database_url, flush_every_s=1, expire_every_s=1, log_level="info"
    )


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    async with open_system(settings) as opened:
        yield opened


@pytest.fixture
def job(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RunOnce:
    """The reconciliation as a worker runs it: in no loop, with the settings in its environment."""
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)

    async def run() -> None:
        await asyncio.to_thread(reconcile)

    return run


@pytest.fixture
def processes(settings: Settings) -> Iterator[Processes]:
    """Job processes on the test's servers; whatever the test leaves running is killed, each by its pid."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-jobs-"))
    started = Processes(settings, directory)
    yield started
    started.kill_all()
    shutil.rmtree(directory, ignore_errors=True)
