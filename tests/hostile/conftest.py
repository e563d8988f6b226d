"""Servers that nobody else uses: the tests of this room treat them badly, and look at the books afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from cli.embedded import EmbeddedRedis
from engine.settings import Settings
from tests.api.process import Api, running_api
from tests.databases import drop, recreate, with_database
from tests.system import System, open_system

DATABASE = "holdfast_test_hostile"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, database_url: str, migrated_template: str) -> Iterator[Settings]:
    """A Redis and a database of the module's own."""
    recreate(database_url, DATABASE, migrated_template)
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        server.wait_ready()
        yield Settings(redis_url=server.url, database_url=with_database(database_url, DATABASE), auth="off")
    finally:
        server.stop()
        drop(database_url, DATABASE)


@pytest.fixture(scope="module")
def api(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process that lets everybody in."""
    with running_api(settings, tmp_path_factory.mktemp("api") / "api.log") as running:
        yield running


@pytest.fixture
async def system(clean_redis_url: str, clean_database_url: str) -> AsyncIterator[System]:
    """An engine without HTTP, of one test's own."""
    async with open_system(Settings(redis_url=clean_redis_url, database_url=clean_database_url)) as opened:
        yield opened
