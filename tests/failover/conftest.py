"""A master with its replica for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.settings import Settings
from tests.failover.servers import Replicated, replicated


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Replicated]:
    with replicated(tmp_path) as started:
        yield started


@pytest.fixture
def settings(servers: Replicated, clean_database_url: str) -> Settings:
    """Those of a system on the master itself."""
    return Settings(redis_url=servers.master.url, database_url=clean_database_url, redis_retries=0)
