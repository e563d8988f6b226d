"""The log as the scripts write it: without gaps, within its high-water mark, and let go of once applied."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.holds import HoldAnswer, Line, Reserve
from engine.keys import Keys
from engine.shard import Shard
from tests.lua.shop import counts, create, held, reserve

pytestmark = pytest.mark.anyio


async def test_events_are_numbered_without_gaps_whatever_their_batches(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 1_000)
    await asyncio.gather(*(shard.reserve(reserve({"A": 1})) for _ in range(200)))
    entries: Any = await redis.xrange(Keys().events)
    last = 0
    for entry_id, fields in entries:
        epoch, seq = entry_id.split("-")
        assert epoch == "1"
        assert int(seq) == last + int(fields["n"])
        last = int(seq)
    assert last == 201
    assert len(entries) < 201


async def test_past_the_high_water_mark_reserves_are_refused_and_commits_still_finish(shard: Shard) -> None:
    await create(shard, "A", 5_000)
    answers = await asyncio.gather(*(shard.reserve(reserve({"A": 1})) for _ in range(2_500)), return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, HoldAnswer)]
    assert len(made) == 1_999
    assert all(isinstance(answer, HoldAnswer | Unavailable) for answer in answers)
    assert isinstance(await shard.commit(made[0].hold.token), HoldAnswer)
    assert isinstance(await shard.release(made[1].hold.token), HoldAnswer)
    await shard.acknowledge(500)
    assert isinstance(await shard.reserve(reserve({"A": 1})), HoldAnswer)


async def test_a_batch_that_would_pass_the_high_water_mark_makes_no_hold_at_all(shard: Shard) -> None:
    await create(shard, "A", 5_000)
    await asyncio.gather(*(shard.reserve(reserve({"A": 1})) for _ in range(1_998)))
    group = [Reserve(f"t{i}", "f", None, 60_000, (Line("A", 1),), (), "group", i) for i in (1, 2, 3)]
    with pytest.raises(Unavailable):
        await shard.reserve_group(group)
    assert await counts(shard, "A") == (3_002, 1_998, 0, 5_000)
    await shard.acknowledge(1_000)
    answers = await shard.reserve_group(group)
    assert [isinstance(answer, HoldAnswer) and not answer.replayed for answer in answers] == [True] * 3


async def test_a_batch_without_a_key_keeps_the_holds_that_were_made_below_the_high_water_mark(shard: Shard) -> None:
    await create(shard, "A", 5_000)
    await asyncio.gather(*(shard.reserve(reserve({"A": 1})) for _ in range(1_998)))
    answers = await shard.reserve_group([reserve({"A": 1}) for _ in range(3)])
    assert [isinstance(answer, HoldAnswer) for answer in answers] == [True, False, False]
    assert isinstance(answers[2], Unavailable)


async def test_acknowledging_lets_go_of_exactly_what_was_applied_and_never_goes_back(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 50)
    for _ in range(4):
        await held(shard, {"A": 1})
    assert await shard.acknowledge(3) == 2
    assert await shard.acknowledge(2) == 2
    entries: Any = await redis.xrange(Keys().events)
    assert [entry_id for entry_id, _ in entries] == ["1-4", "1-5"]


async def test_of_acknowledgements_at_once_the_furthest_counts(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 50)
    for _ in range(4):
        await held(shard, {"A": 1})
    left = await asyncio.gather(shard.acknowledge(4), shard.acknowledge(2))
    assert set(left) == {1}
    assert await redis.hget(Keys().meta, "flushed") == "4"


async def test_acknowledging_what_was_acknowledged_writes_nothing(shard: Shard, redis: Redis, kind: str) -> None:
    if kind != "real":
        pytest.skip("only a real server counts what is written")
    await create(shard, "A", 50)
    await shard.acknowledge(1)
    before = (await redis.info("persistence"))["rdb_changes_since_last_save"]
    assert await shard.acknowledge(1) == 0
    assert (await redis.info("persistence"))["rdb_changes_since_last_save"] == before


async def test_a_repeated_sequence_is_refused_before_anything_changed(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await redis.hset(Keys().meta, "seq", "0")
    with pytest.raises(Exception, match="equal or smaller"):
        await shard.reserve(reserve({"A": 1}, token="once"))
    assert await counts(shard, "A") == (5, 0, 0, 5)
    assert await shard.hold("once") is None
