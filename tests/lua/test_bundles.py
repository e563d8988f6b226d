"""Bundles: holds that end together are one deadline, and what becomes of it when they end in other ways."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from engine.expiring import MAX_BUNDLE, Expiry, tokens_in
from engine.holds import HoldAnswer
from engine.keys import Keys
from engine.shard import Shard
from tests.bundles import deadlines_in, live_deadlines_in
from tests.lua.shop import counts, create, held, reserve

pytestmark = pytest.mark.anyio


async def test_holds_of_a_batch_that_end_together_are_one_deadline_until_they_are_swept(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 9)
    answers = await asyncio.gather(*(held(shard, {"A": 1}, ttl_ms=200) for _ in range(3)))
    tokens = [answer.hold.token for answer in answers]
    assert await redis.zrange(Keys().deadlines, 0, -1) == [",".join(tokens)]
    await shard.commit(tokens[0])
    await shard.extend(tokens[1], 60_000)
    await asyncio.sleep(0.25)
    assert await shard.expire_due() == 1
    assert await deadlines_in(redis, Keys()) == await live_deadlines_in(redis, Keys())
    assert (await deadlines_in(redis, Keys())).keys() == {tokens[1]}
    assert await counts(shard, "A") == (7, 1, 1, 9)


async def test_a_bundle_has_a_hundred_holds_at_most_and_all_of_them_end(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 300)
    await asyncio.gather(*(held(shard, {"A": 1}, ttl_ms=20) for _ in range(250)))
    bundles: Any = await redis.zrange(Keys().deadlines, 0, -1)
    sizes = [len(tokens_in(bundle)) for bundle in bundles]
    assert (sum(sizes), max(sizes)) == (250, MAX_BUNDLE)
    await asyncio.sleep(0.03)
    assert await shard.expire_due() == 250
    assert await redis.zcard(Keys().deadlines) == 0


async def test_a_bundle_whose_holds_wait_for_a_clock_that_went_back_is_not_let_go_of(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 9)
    answers = await asyncio.gather(*(held(shard, {"A": 1}) for _ in range(2)))
    await shard.commit(answers[0].hold.token)
    before = await deadlines_in(redis, Keys())
    await shard._sweep_until(int(max(before.values())))
    assert await deadlines_in(redis, Keys()) == before
    assert await counts(shard, "A") == (7, 1, 1, 9)


async def test_what_a_bundle_named_when_another_sweep_had_it_first_makes_no_orphans(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 9)
    token = (await held(shard, {"A": 1}, ttl_ms=1)).hold.token
    await asyncio.sleep(0.01)
    assert await shard.expire_due() == 1
    await redis.delete(Keys().hold(token))
    assert await shard._expire([Expiry((token,), token)]) == [0]
    assert await shard.orphans(10) == []


async def test_a_hold_that_ended_is_remembered_for_longer_than_its_bundle(
    shard: Shard, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "_settings", replace(shard._settings, retention_s=1))
    await create(shard, "A", 9)
    sold, ended = (await held(shard, {"A": 1})).hold, (await held(shard, {"A": 1}, ttl_ms=1)).hold
    await shard.commit(sold.token)
    await asyncio.sleep(0.01)
    assert await shard.expire_due() == 1
    assert 60_000 + 3_600_000 - 10_000 < await redis.pttl(Keys().hold(sold.token)) <= 60_000 + 3_600_000
    assert 0 < await redis.pttl(Keys().hold(ended.token)) <= 1_000


async def test_extends_that_change_nothing_do_not_grow_the_deadlines(
    shard: Shard, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "_settings", replace(shard._settings, max_hold_life_s=60))
    await create(shard, "A", 40)
    answers = await asyncio.gather(*(held(shard, {"A": 1}) for _ in range(20)))
    before = await redis.zrange(Keys().deadlines, 0, -1, withscores=True)
    chance = Random(7)
    for _ in range(10):
        some = chance.sample(answers, 7)
        await asyncio.gather(*(shard.extend(answer.hold.token, 600) for answer in some))
    assert await redis.zrange(Keys().deadlines, 0, -1, withscores=True) == before


async def test_an_expired_hold_is_found_behind_many_bundles_of_what_was_sold(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.shard.SWEEP_BUNDLES", 10)
    await create(shard, "A", 1_000)
    for _ in range(55):
        await shard.commit((await held(shard, {"A": 1}, ttl_ms=1_000)).hold.token)
    await held(shard, {"A": 900}, ttl_ms=1_050)
    await asyncio.sleep(1.1)
    assert isinstance(await shard.reserve(reserve({"A": 900})), HoldAnswer)


async def test_a_hold_that_lost_its_bundle_is_ended_by_its_record_alone_and_not_before_its_time(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 9)
    due, live = (await held(shard, {"A": 1}, ttl_ms=1)).hold, (await held(shard, {"A": 2})).hold
    await asyncio.sleep(0.01)
    await redis.delete(Keys().deadlines)
    assert await shard.expire_overdue([due.token, live.token, "never-made"]) == 1
    assert await counts(shard, "A") == (7, 2, 0, 9)
    assert await shard.orphans(10) == []
