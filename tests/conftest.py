"""The servers under the tests: real ones, started once a session in directories of their own, ended with it.

`HOLDFAST_TEST_REDIS_URL` and `HOLDFAST_TEST_DATABASE_URL` put others in their place; everything in them is wiped.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis

from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from persistence.migrate import migrate

TEMPLATE = "holdfast_test_template"
DATABASE = "holdfast_test"
# A test kills servers, never the machine: without fsync a fresh database costs a third.
QUICK = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}


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
    _run(_recreate(database_url, TEMPLATE))
    _run(migrate(with_database(database_url, TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def clean_database_url(database_url: str, migrated_template: str) -> str:
    """A migrated and empty database, in the place of the one that the test before had."""
    _run(_recreate(database_url, DATABASE, template=migrated_template))
    return with_database(database_url, DATABASE)


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _recreate(url: str, name: str, template: str = "template0") -> None:
    await _execute(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE {template}")


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _run(work: Coroutine[object, object, object]) -> None:
    asyncio.run(work)
