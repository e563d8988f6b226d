"""A system of each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.settings import Settings
from tests.system import System, open_system


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings(clean_redis_url: str, clean_database_url: str) -> Settings:
    return Settings(redis_url=clean_redis_url, database_url=clean_database_url)


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    async with open_system(settings) as opened:
        yield opened


@pytest.fixture(params=["copied", "inserted"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds for long runs of events, which are copied, and for short ones, which are inserted."""
    monkeypatch.setattr("persistence.flush.MIN_COPIED_EVENTS", 1 if request.param == "copied" else 1_000_000)
