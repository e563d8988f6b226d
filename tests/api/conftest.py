"""One API process for most tests of this room, on a Redis and a database that nobody else touches meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.embedded import EmbeddedRedis
from engine.settings import Settings
from tests.api.process import Api, running_api
from tests.databases import drop, recreate, with_database

DATABASE = "holdfast_test_api"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
def api_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        server.wait_ready()
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="package")
def api_database_url(database_url: str, migrated_template: str) -> Iterator[str]:
    recreate(database_url, DATABASE, migrated_template)
    yield with_database(database_url, DATABASE)
    drop(database_url, DATABASE)


@pytest.fixture(scope="package")
def api(api_redis_url: str, api_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A process that lets everybody in."""
    settings = Settings(redis_url=api_redis_url, database_url=api_database_url, auth="off")
    with running_api(settings, tmp_path_factory.mktemp("api") / "api.log") as running:
        yield running


@pytest.fixture
def own_settings(clean_redis_url: str, clean_database_url: str) -> Settings:
    """For a process of one test's own."""
    return Settings(redis_url=clean_redis_url, database_url=clean_database_url, auth="off")


@pytest.fixture
def own_api(own_settings: Settings, tmp_path: Path) -> Iterator[Api]:
    """A process that a test may treat badly."""
    with running_api(own_settings, tmp_path / "api.log") as running:
        yield running
