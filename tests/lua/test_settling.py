"""Holds are settled by what is cut out of their texts: as if all of those were decoded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from engine.events import Committed, Event, Released, read_entry
from engine.holds import HoldAnswer, HoldStatus, Line, Reserve
from engine.idempotency import Keyed, fresh_token
from engine.keys import Keys
from engine.refusals import Refusal, Refused
from engine.shard import Shard
from tests.bundles import deadlines_in
from tests.lua.shop import counts, create

pytestmark = pytest.mark.anyio

LIKE_A_RECORD = 'x",1,9999999999999,1,"f",[["A",9]]]'
CUSTOMERS = [None, "ada", 'A "B" \\ C', "Zoë/1", LIKE_A_RECORD, "[[", "\\"]
SKUS = ["A", "B/1", "C]]"]


async def held(shard: Shard, customer: str | None = None, skus: list[str] | None = None) -> str:
    lines = tuple(Line(sku, 1) for sku in skus or ["A"])
    answer = await shard.reserve(Reserve(fresh_token(), "f", customer, 60_000, lines))
    assert isinstance(answer, HoldAnswer), answer
    return answer.hold.token


def status(answer: HoldAnswer | Refused) -> HoldStatus | Refusal:
    return answer.hold.status if isinstance(answer, HoldAnswer) else answer.refusal


@pytest.mark.parametrize("customer", CUSTOMERS)
async def test_whoever_a_hold_is_for_and_whatever_it_has_it_is_settled_as_it_was_made(
    shard: Shard, redis: Redis, customer: str | None
) -> None:
    for sku in SKUS:
        await create(shard, sku, 5, limit=3)
    sold, released, extended = [await held(shard, customer, SKUS) for _ in range(3)]
    for asked, expected in (
        (shard.extend(extended, 900), HoldStatus.HELD),
        (shard.commit(sold, Keyed("pay", "f"), 'till "7"'), HoldStatus.COMMITTED),
        (shard.commit(sold, Keyed("pay", "f"), 'till "7"'), HoldStatus.COMMITTED),
        (shard.release(released), HoldStatus.RELEASED),
        (shard.release(released), HoldStatus.RELEASED),
    ):
        answer = await asked
        assert isinstance(answer, HoldAnswer)
        assert (answer.hold.status, answer.hold.customer_id) == (expected, customer)
        assert answer.hold.lines == tuple(Line(sku, 1) for sku in SKUS)
        assert await shard.hold(answer.hold.token) == answer.hold
    for sku in SKUS:
        assert await counts(shard, sku) == (3, 1, 1, 5)
    if customer is not None:
        assert set((await redis.hgetall(Keys().customers)).values()) == {"2"}
    logged: Any = await redis.xrange(Keys().events)
    bodies = [event.body for entry in logged for event in read_entry(*entry).events if isinstance(event, Event)]
    settled = [body.lines for body in bodies if isinstance(body, Committed | Released)]
    assert settled == [tuple((sku, 1) for sku in SKUS)] * 2


async def test_of_a_batch_each_keyed_operation_has_its_own_memory(shard: Shard) -> None:
    await create(shard, "A", 9)
    tokens = [await held(shard) for _ in range(4)]
    keys = [Keyed("pay-0", "f0"), None, Keyed("pay-2", "f2"), Keyed("pay-3", "f3")]
    first = await asyncio.gather(*(shard.commit(*asked) for asked in zip(tokens, keys, strict=True)))
    assert [status(answer) for answer in first] == [HoldStatus.COMMITTED] * 4
    again = await asyncio.gather(*(shard.commit(*asked) for asked in zip(tokens, keys, strict=True)))
    assert [isinstance(answer, HoldAnswer) and answer.replayed for answer in again] == [True, False, True, True]
    other = await asyncio.gather(shard.commit(tokens[2], Keyed("pay-2", "f0")), shard.commit(tokens[3], keys[3]))
    assert [status(answer) for answer in other] == [Refusal.KEY_REUSED, HoldStatus.COMMITTED]


async def test_the_memories_of_a_batch_travel_as_they_are_kept(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 9)
    tokens = [await held(shard) for _ in range(2)]
    await asyncio.gather(*(shard.commit(token, Keyed(f"pay-{token}", "f")) for token in tokens))
    logged: Any = await redis.xrange(Keys().events)
    memories = read_entry(*logged[-1]).memories
    assert {token: await redis.get(Keys().memory(token)) for token, _ in memories} == dict(memories)
    assert dict(memories) == {f"pay-{token}": '["f",true]' for token in tokens}


async def test_a_hold_that_is_extended_twice_at_once_lives_for_the_longer(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 9)
    token = await held(shard)
    longest = Keyed("long", "f")
    asked = (shard.extend(token, 300), shard.extend(token, 900, longest), shard.extend(token, 600))
    shorter, longer, last = [answer for answer in await asyncio.gather(*asked) if isinstance(answer, HoldAnswer)]
    assert shorter.hold.expires_ms < longer.hold.expires_ms == last.hold.expires_ms
    assert await deadlines_in(redis, Keys()) == {token: longer.hold.expires_ms}
    assert await shard.hold(token) == longer.hold
    await shard.commit(token)
    again = await shard.extend(token, 900, longest)
    assert isinstance(again, HoldAnswer) and again.replayed
    assert again.hold == longer.hold


async def test_of_the_same_expiry_asked_twice_at_once_one_gives_back(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 9)
    token = await held(shard)
    await redis.delete(Keys().hold(token))
    await redis.zadd(Keys().deadlines, {token: 1})
    assert await shard.expire_due() == 0
    asked = [shard.expire_orphan(token, 'A "B"', [("A", 1)]) for _ in range(2)]
    assert await asyncio.gather(*asked) == [True, False]
    assert await counts(shard, "A") == (9, 0, 0, 9)
