"""Records are kept by one command where the server has it, else one by one, and never left out."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from engine.holds import HoldAnswer, Line, Reserve
from engine.idempotency import fresh_token
from engine.settings import Settings
from engine.shard import Shard
from engine.stock import Adjust

pytestmark = pytest.mark.anyio

MORE_THAN_ONE_PART = 2_500


@pytest.fixture
def kind() -> str:
    return "real"


@pytest.fixture
def settings() -> Settings:
    return Settings(redis_url="redis://unused", high_water_events=10_000)


async def held(shard: Shard, count: int, ttls_ms: tuple[int, ...] = (60_000,)) -> list[HoldAnswer]:
    await shard.adjust(Adjust(fresh_token(), "", "A", count, "created", create=True))
    line = (Line("A", 1),)
    requests = [Reserve(fresh_token(), "f", None, ttls_ms[i % len(ttls_ms)], line) for i in range(count)]
    answers = [answer for answer in await shard.reserve_group(requests) if isinstance(answer, HoldAnswer)]
    assert len(answers) == count
    return answers


async def calls(redis: Redis) -> dict[str, int]:
    return {name.removeprefix("cmdstat_"): told["calls"] for name, told in (await redis.info("commandstats")).items()}


async def test_the_records_of_a_batch_are_kept_by_one_command(shard: Shard, redis: Redis) -> None:
    before = await calls(redis)
    answers = await held(shard, 100)
    after = await calls(redis)
    assert after["msetex"] - before.get("msetex", 0) == 2  # the first is the memory of the SKU's creation
    assert after.get("set", 0) == before.get("set", 0)
    for answer in answers:
        assert await shard.hold(answer.hold.token) == answer.hold


async def test_holds_of_one_batch_live_each_as_long_as_they_should(shard: Shard, redis: Redis) -> None:
    short, long, *_ = await held(shard, 4, ttls_ms=(60_000, 3_600_000))
    lives = [await redis.pttl(shard.keys.hold(answer.hold.token)) for answer in (short, long)]
    assert 3_530_000 < lives[1] - lives[0] < 3_550_000


async def test_more_records_than_one_command_takes_are_kept_in_parts(shard: Shard, redis: Redis) -> None:
    answers = await held(shard, MORE_THAN_ONE_PART)
    keys = [shard.keys.hold(answer.hold.token) for answer in answers]
    assert await redis.exists(*keys) == MORE_THAN_ONE_PART
    assert min([await redis.pttl(keys[0]), await redis.pttl(keys[-1])]) > 60_000


async def test_nothing_is_left_out_where_the_user_may_not_call_that_command(shard: Shard, redis: Redis) -> None:
    await redis.execute_command("ACL", "SETUSER", "default", "-msetex")  # type: ignore[no-untyped-call]
    try:
        answers = await held(shard, MORE_THAN_ONE_PART)
        keys = [shard.keys.hold(answer.hold.token) for answer in answers]
        assert await redis.exists(*keys) == MORE_THAN_ONE_PART
        assert await redis.pttl(keys[-1]) > 60_000
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+msetex")  # type: ignore[no-untyped-call]


async def test_a_name_is_found_taken_where_the_user_may_not_ask_whether_it_exists(shard: Shard, redis: Redis) -> None:
    (first,) = await held(shard, 1)
    await redis.execute_command("ACL", "SETUSER", "default", "-exists")  # type: ignore[no-untyped-call]
    try:
        again = await shard.reserve(Reserve(first.hold.token, "f", None, 60_000, first.hold.lines))
        assert again == HoldAnswer(first.hold, replayed=True)
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+exists")  # type: ignore[no-untyped-call]
