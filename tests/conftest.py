"""The servers under the tests: real ones, started once a session in directories of their own, ended with it.

`HOLDFAST_TEST_REDIS_URL` and `HOLDFAST_TEST_DATABASE_URL` put others in their place; everything in them is wiped, so
only one process may use them: `make test TEST_PROCESSES=0`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.migrate import migrate
from tests.databases import CleanDatabase, recreate, with_database

TEMPLATE = "holdfast_test_template"
DATABASE = "holdfast_test"
# A test kills servers, never the machine: without fsync a fresh database costs a third.
QUICK = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to share given servers between processes, which would empty them under each other."""
    for variable in ("HOLDFAST_TEST_REDIS_URL", "HOLDFAST_TEST_DATABASE_URL"):
        if os.environ.get(variable) and config.getoption("numprocesses", None):
            raise pytest.UsageError(f"{variable} is for tests in one process: make test TEST_PROCESSES=0")


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """A directory that the embedded servers' account can reach even when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_url(servers_dir: Path) -> Iterator[str]:
    """A real server for the whole session, with the append-only file on. What is in it is anybody's."""
    if given := os.environ.get("HOLDFAST_TEST_REDIS_URL"):
        yield given
        return
    server = EmbeddedRedis(servers_dir / "redis")
    try:
        server.start()
        server.wait_ready()
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def clean_redis_url(redis_url: str) -> str:
    """The session's server, empty."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def database_url(servers_dir: Path) -> Iterator[str]:
    """A real PostgreSQL for the whole session. What is in it is anybody's."""
    if given := os.environ.get("HOLDFAST_TEST_DATABASE_URL"):
        yield given
        return
    server = EmbeddedPostgres(servers_dir / "postgres", options=QUICK)
    try:
        server.start()
        server.wait_ready()
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def migrated_template(database_url: str) -> str:
    """The name of a migrated database that fresh ones are copied from."""
    recreate(database_url, TEMPLATE)
    asyncio.run(migrate(with_database(database_url, TEMPLATE)))
    return TEMPLATE


@pytest.fixture(scope="session")
def database_for_each(database_url: str, migrated_template: str) -> CleanDatabase:
    """What `clean_database_url` is from one test to the next."""
    return CleanDatabase(database_url, migrated_template, DATABASE)


@pytest.fixture
def clean_database_url(database_for_each: CleanDatabase) -> str:
    """A migrated and empty database, in the place of the one that the test before had."""
    return database_for_each.clean()
