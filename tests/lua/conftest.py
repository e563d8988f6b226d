"""The same suite twice: on fakeredis for speed, on the real server for truth."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest
from redis.asyncio import Redis

from engine.connection import connect
from engine.fence import Fence
from engine.keys import Keys
from engine.restore import Restorer
from engine.scripts import load_scripts
from engine.settings import Settings
from engine.shard import Shard


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["fakeredis", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def redis(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    if kind == "fakeredis":
        client: Redis = fakeredis.FakeAsyncRedis(decode_responses=True)
    else:
        client = connect(Settings(redis_url=request.getfixturevalue("clean_redis_url")))
    yield client
    await client.aclose()


@pytest.fixture
def settings() -> Settings:
    return Settings(redis_url="redis://unused", high_water_events=2_000)


@pytest.fixture
async def shard(redis: Redis, kind: str, settings: Settings) -> AsyncIterator[Shard]:
    keys, fence = Keys(), Fence()
    await Restorer(redis, keys).open(1, "test")
    fence.open("this server", 1)
    opened = Shard(redis, fence, settings, keys=keys, scripts=load_scripts(with_flags=kind == "real"))
    yield opened
    await opened.close()
