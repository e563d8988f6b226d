"""What holds for every script: it is loaded where it is missing, and does nothing for a caller of another epoch."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.keys import Keys
from engine.restore import Restorer
from engine.shard import Shard
from tests.lua.shop import counts, create, held, reserve

pytestmark = pytest.mark.anyio


async def test_scripts_that_the_server_forgot_are_loaded_again_by_themselves(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await redis.script_flush()
    await held(shard, {"A": 1})


async def test_a_caller_of_another_epoch_changes_nothing(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await Restorer(redis, Keys()).open(2, "test")
    with pytest.raises(Unavailable):
        await shard.reserve(reserve({"A": 1}))
    assert not shard.fence.is_open
    with pytest.raises(Unavailable):
        await shard.stock("A")
    shard.fence.open("this server", 2)
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_an_emptied_redis_answers_that_it_cannot_tell_not_that_nothing_exists(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await redis.flushall()
    with pytest.raises(Unavailable):
        await shard.stock("A")
