"""A whole deployment with the users and roles of deploy/."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.database import prepare
from tests.access.redis_server import AccessRedis
from tests.databases import drop, recreate, with_database


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for servers and logs."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-access-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def users(place: Path) -> Iterator[AccessRedis]:
    """A server with the users of deploy/redis."""
    server = AccessRedis(place)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def roles_url(database_url: str) -> Iterator[str]:
    """A database with the roles of deploy/postgres, as the superuser sees it."""
    name = "holdfast_test_roles"
    recreate(database_url, name)
    url = with_database(database_url, name)
    prepare(url)
    yield url
    drop(database_url, name)
