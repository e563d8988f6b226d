"""The holds that a trade makes, sells and ends: never more than there is, nor than a customer may have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from engine.events import read_entry
from engine.holds import HoldAnswer, HoldStatus
from engine.idempotency import fresh_token
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.shard import Shard
from engine.stock import Adjust
from engine.trade import Counted, Returned, Trade, Traded
from tests.lua.shop import KEYS, claim, counts, create, dump, gathered, made

pytestmark = pytest.mark.anyio


async def test_own_holds_never_count_against_their_shopper(shard: Shard) -> None:
    await create(shard, "A", 5, limit=5)
    three = await made(shard, "A", 3, "bob")
    raised = claim("A", 5, "bob")
    assert isinstance(await shard.trade(Trade(ended=(three,), made=(raised,))), Traded)
    assert await counts(shard, "A") == (0, 5, 0, 5)
    more = await shard.trade(Trade(ended=(raised.token,), made=(claim("A", 6, "bob"),)))
    assert more == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 6, 5),))
    assert await counts(shard, "A") == (0, 5, 0, 5)


async def test_units_given_back_are_claimed_again_only_once(shard: Shard) -> None:
    """What one trade ends covers all that it makes of the SKU together, not each of it."""
    await create(shard, "A", 5, limit=5)
    three = await made(shard, "A", 3, "bob")
    twice = Trade(ended=(three,), made=(claim("A", 3, "bob"), claim("A", 3, "bob")))
    assert await shard.trade(twice) == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 3, 2),))
    assert await counts(shard, "A") == (2, 3, 0, 5)
    await shard.adjust(Adjust("more", "f", "A", 5, "received"))
    over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 3, 5),))
    assert await shard.trade(twice) == over
    assert await counts(shard, "A") == (7, 3, 0, 10)


async def test_a_hold_named_twice_gives_its_units_back_once(shard: Shard) -> None:
    await create(shard, "A", 5)
    three = await made(shard, "A", 3)
    twice = Trade(ended=(three, three), made=(claim("A", 6),))
    assert await shard.trade(twice) == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 6, 5),))
    assert isinstance(await shard.trade(Trade(ended=(three, three))), Traded)
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_of_a_batch_for_the_last_units_as_many_succeed_as_there_are(shard: Shard) -> None:
    await create(shard, "A", 3)
    answers = await gathered(shard, [Trade(made=(claim("A", 1, is_sold=i % 2 == 0),)) for i in range(20)])
    assert sum(isinstance(answer, Traded) for answer in answers) == 3
    short = Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 1, 0),))
    assert [answer for answer in answers if answer == short] == [short] * 17
    available, reserved, sold, received = await counts(shard, "A")
    assert (available, reserved + sold, received) == (0, 3, 3)


async def test_a_customer_limit_counts_what_is_held_and_sold_and_not_what_is_given_back(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 20, limit=3)
    two = await made(shard, "A", 2, "bob")
    assert isinstance(await shard.trade(Trade(made=(claim("A", 1, "bob", is_sold=True),))), Traded)
    over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 3, 3),))
    assert await shard.trade(Trade(ended=(two,), made=(claim("A", 3, "bob"),))) == over
    assert isinstance(await shard.trade(Trade(ended=(two,), made=(claim("A", 2, "bob"),))), Traded)
    assert isinstance(await shard.trade(Trade(made=(claim("A", 3, "eve"),))), Traded)
    back = Trade(returned=(Returned("A", 1, "bob"),), reason="returned")
    assert isinstance(await shard.trade(back), Traded)
    assert await redis.hgetall(KEYS.customers) == {"A|bob": "2", "A|eve": "3"}
    assert await shard.customer_units([("A", "bob"), ("A", "nobody")]) == [2, 0]


async def test_a_guest_counts_for_one_hold_alone(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 20, limit=3)
    over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 4, 3),))
    assert await shard.trade(Trade(made=(claim("A", 4),))) == over
    assert isinstance(await shard.trade(Trade(made=(claim("A", 3), claim("A", 3, is_sold=True)))), Traded)
    assert isinstance(await shard.trade(Trade(returned=(Returned("A", 3, None),))), Traded)
    assert not await redis.exists(KEYS.customers)


async def test_a_guests_hold_becomes_its_customers(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5, limit=4)
    guests, bobs = await made(shard, "A", 3), await made(shard, "A", 1, "bob")
    over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 5, 4),))
    assert await shard.trade(Trade(ended=(guests, bobs), made=(claim("A", 5, "bob"),))) == over
    assert isinstance(await shard.trade(Trade(ended=(guests, bobs), made=(claim("A", 4, "bob"),))), Traded)
    assert await counts(shard, "A") == (1, 4, 0, 5)
    assert await redis.hgetall(KEYS.customers) == {"A|bob": "4"}


@pytest.mark.parametrize("customer", ["bob|", "|", "a|b", "ä€😀", '"\\', "A|bob"])
async def test_any_text_may_be_a_customers_id(shard: Shard, customer: str) -> None:
    await create(shard, "A", 20, limit=3)
    held = await made(shard, "A", 2, customer)
    assert isinstance(await shard.trade(Trade(ended=(held,), made=(claim("A", 3, customer, is_sold=True),))), Traded)
    assert await shard.customer_units([("A", customer)]) == [3]
    back = Trade(returned=(Returned("A", 3, customer),), counted=(Counted("coup_1", 1, 1, customer),))
    assert isinstance(await shard.trade(back), Traded)
    assert await shard.customer_units([("A", customer)]) == [0]
    assert await shard.trade(Trade(counted=back.counted)) == Refused(Refusal.COUPON_LIMIT_REACHED)


async def test_units_of_a_sku_that_is_gone_do_not_come_back_and_harm_no_other_trade(shard: Shard) -> None:
    await create(shard, "A", 5)
    answers = await gathered(
        shard, [Trade(returned=(Returned("GONE", 1, None),)), Trade(made=(claim("A", 2, is_sold=True),))]
    )
    assert answers[0] == Refused(Refusal.UNKNOWN_SKU, skus=("GONE",))
    assert isinstance(answers[1], Traded)


async def test_a_hold_past_its_deadline_never_stands_in_the_way_even_when_nothing_sweeps(shard: Shard) -> None:
    await create(shard, "A", 600)
    await create(shard, "LIMITED", 10, limit=2)
    await asyncio.gather(*(made(shard, "A", 1, ttl_ms=1) for _ in range(600)))
    await made(shard, "LIMITED", 2, "bob", ttl_ms=1)
    await asyncio.sleep(0.01)
    answers = await gathered(shard, [Trade(made=(claim("A", 300),)), Trade(made=(claim("LIMITED", 2, "bob"),))])
    assert [type(answer) for answer in answers] == [Traded, Traded]
    assert await counts(shard, "A") == (300, 300, 0, 600)


async def test_a_hold_past_its_deadline_is_not_sold_even_before_it_is_swept(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await create(shard, "B", 5)
    late, alive = await made(shard, "A", 2, ttl_ms=1), await made(shard, "B", 2)
    await asyncio.sleep(0.01)
    before = await dump(redis)
    assert await shard.trade(Trade(sold=(alive, late))) == Refused(Refusal.HOLD_EXPIRED, skus=("A",))
    assert await dump(redis) == before


async def test_what_a_late_hold_held_may_be_claimed_by_the_trade_that_ends_it(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 2)
    late = await made(shard, "A", 2, ttl_ms=1)
    await asyncio.sleep(0.01)
    assert isinstance(await shard.trade(Trade(ended=(late,), made=(claim("A", 2, is_sold=True),))), Traded)
    found = await shard.hold(late)
    assert found is not None
    assert found.status is HoldStatus.EXPIRED
    assert await counts(shard, "A") == (0, 0, 2, 2)
    entries: Any = await redis.xrevrange(KEYS.events, count=1)
    told = read_entry(*entries[0]).events
    assert [event.kind for event in told] == ["expire", "reserve", "commit"]
    assert await redis.zcard(KEYS.deadlines) == 0


async def test_a_hold_that_ended_by_itself_or_was_forgotten_gives_nothing_back_again(shard: Shard) -> None:
    await create(shard, "A", 5)
    swept, committed = await made(shard, "A", 1, ttl_ms=1), await made(shard, "A", 1)
    await asyncio.sleep(0.01)
    assert await shard.expire_due() == 1
    assert isinstance(await shard.commit(committed), HoldAnswer)
    assert isinstance(await shard.trade(Trade(ended=(swept, committed, fresh_token()))), Traded)
    assert await counts(shard, "A") == (4, 0, 1, 5)


async def test_a_trade_keeps_live_holds_beyond_their_deadline_and_ended_ones_for_the_retention(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 5)
    live, ended = await made(shard, "A", 1), await made(shard, "A", 1)
    assert isinstance(await shard.trade(Trade(ended=(ended,))), Traded)
    weeks_ms, day_ms = 30 * 86_400_000, 86_400_000
    assert weeks_ms + day_ms < await redis.pttl(KEYS.hold(live)) <= weeks_ms + day_ms + 60_000
    assert day_ms - 10_000 < await redis.pttl(KEYS.hold(ended)) <= day_ms
