"""Batches of reserves: what a group's memory tells, whose names are taken, and what their customers may be called."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from engine.holds import HoldAnswer, Line, Reserve
from engine.refusals import Refusal, Refused
from engine.shard import Shard
from tests.lua.shop import counts, create, held, reserve

pytestmark = pytest.mark.anyio


def batch(quantities: list[int]) -> list[Reserve]:
    return [
        Reserve(f"group-{position}", "f", None, 60_000, (Line("A", quantity),), (), "group", position)
        for position, quantity in enumerate(quantities, 1)
    ]


def outline(answers: list[Any]) -> list[Any]:
    """The answers without the mark that tells a first answer from its replay."""
    return [answer.hold if isinstance(answer, HoldAnswer) else answer for answer in answers]


async def test_the_memory_of_a_group_tells_its_refusals_only(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 3)
    await asyncio.gather(*(shard.reserve_group(batch([1, 5, 2])) for _ in range(2)))
    memory = str(await redis.get(shard.keys.memory("group")))
    assert msgspec.json.decode(memory) == ["f", {"2": ["insufficient-stock", "A", 5, 2]}]


async def test_a_memory_that_told_every_answer_repeats_them_too(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 3)
    first = await shard.reserve_group(batch([1, 5, 2]))
    told = ["f", [["held", 5_000], ["insufficient-stock", "A", 5, 2], ["held", 5_000]]]
    await redis.set(shard.keys.memory("group"), msgspec.json.encode(told), keepttl=True)
    await shard.release("group-1")
    again = await shard.reserve_group(batch([1, 5, 2]))
    assert outline(again) == outline(first)
    assert [isinstance(answer, HoldAnswer) and answer.replayed for answer in again] == [True, False, True]


async def test_operations_of_one_batch_that_differ_are_each_judged_by_what_is_theirs(shard: Shard) -> None:
    await create(shard, "A", 9, limit=2)
    await held(shard, {"A": 1}, token="before", ttl_ms=50_000)
    given = await shard.reserve_group(
        [
            replace(reserve({"A": 1}, ttl_ms=50_000), token="now", also=("before",)),
            reserve({"A": 1, "B": 1}),
            reserve({"A": 1}, ttl_ms=30_000, customer="ada"),
            reserve({"A": 3}, customer="ada"),
            *batch([2, 3]),
            reserve({"A": 1}, customer="ada"),
            reserve({"A": 1}, customer="ada"),
        ]
    )
    refusals = [answer.refusal if isinstance(answer, Refused) else None for answer in given]
    limited, unknown = Refusal.CUSTOMER_LIMIT_EXCEEDED, Refusal.UNKNOWN_SKU
    assert refusals == [None, unknown, None, limited, None, limited, None, limited]
    holds = [answer for answer in given if isinstance(answer, HoldAnswer)]
    assert [answer.replayed for answer in holds] == [True, False, False, False]
    lives = [answer.hold.expires_ms - answer.hold.created_ms for answer in holds]
    assert lives == [50_000, 30_000, 60_000, 60_000]
    for answer in holds[1:]:
        assert await shard.hold(answer.hold.token) == answer.hold
    assert await counts(shard, "A") == (4, 5, 0, 9)


async def test_a_name_that_is_taken_is_found_wherever_it_stands_in_a_long_batch(shard: Shard) -> None:
    await create(shard, "A", 1)
    first = await held(shard, {"A": 1}, token="taken")
    fresh = [replace(reserve({"B": 1}), token=f"t{i}", also=(f"u{i}",)) for i in range(4_100)]
    *others, last = await shard.reserve_group([*fresh, reserve({"A": 1}, token="taken")])
    assert last == HoldAnswer(first.hold, replayed=True)
    assert all(isinstance(other, Refused) for other in others)


async def test_guests_are_not_one_customer_whose_units_are_counted(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5, limit=2)
    answers = await shard.reserve_group([reserve({"A": 2}), reserve({"A": 2})])
    assert all(isinstance(answer, HoldAnswer) for answer in answers)
    assert await redis.hlen(shard.keys.customers) == 0


@pytest.mark.parametrize("customer", ['a"b', "a\\b", "a|b", "a/b", "[1]", "é\x7f\u2028", "\U0001f6d2", '"', "null"])
async def test_any_text_may_be_the_id_of_a_customer_whose_units_are_counted(shard: Shard, customer: str) -> None:
    await create(shard, "A", 5, limit=1)
    answer = await held(shard, {"A": 1}, customer=customer)
    refused = await shard.reserve(reserve({"A": 1}, customer=customer))
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.CUSTOMER_LIMIT_EXCEEDED
    assert (await shard.hold(answer.hold.token)) == answer.hold
    await shard.release(answer.hold.token)
    await held(shard, {"A": 1}, customer=customer)


async def test_a_group_whose_memory_is_over_is_refused_whole_where_a_hold_of_it_was_another(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 9)
    first = await shard.reserve_group(batch([1, 2]))
    await redis.delete(shard.keys.memory("group"))
    before = await counts(shard, "A")
    one, two, three = (replace(asked, fingerprint="other") for asked in batch([1, 2, 3]))
    given = await shard.reserve_group([replace(three, ttl_ms=30_000), one, two, reserve({"A": 1})])
    refusals = [answer.refusal if isinstance(answer, Refused) else None for answer in given]
    assert refusals == [Refusal.KEY_REUSED] * 3 + [None]
    available, reserved, *others = before
    assert await counts(shard, "A") == (available - 1, reserved + 1, *others)
    assert outline(await shard.reserve_group(batch([1, 2]))) == outline(first)
