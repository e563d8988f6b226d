"""A running system of each test's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.settings import Settings
from tests.replay.running import Running


@pytest.fixture
def running(clean_redis_url: str, clean_database_url: str, tmp_path: Path) -> Iterator[Running]:
    """An API that is ready; no worker yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(redis_url=clean_redis_url, database_url=clean_database_url, auth="off", port=port)
    system = Running(settings, tmp_path)
    try:
        system.start_api()
        yield system
    finally:
        system.stop()
