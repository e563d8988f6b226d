"""Coupons as trades count them: exactly as often as they may be used, and given back."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from engine.refusals import Refusal, Refused
from engine.shard import Shard
from engine.trade import Counted, Trade, Traded
from tests.lua.shop import KEYS, cart, claim, counts, create, gathered

pytestmark = pytest.mark.anyio


async def test_a_coupon_with_a_limit_is_counted_exactly_that_often(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 1_000)
    trades = [
        Trade(made=(claim("A", 1, is_sold=True),), counted=(Counted("coup_1", 1, 10),), put=(cart(f"c{i}", 1),))
        for i in range(100)
    ]
    answers = await gathered(shard, trades)
    assert sum(isinstance(answer, Traded) for answer in answers) == 10
    assert answers.count(Refused(Refusal.COUPON_LIMIT_REACHED)) == 90
    assert await redis.hgetall(KEYS.coupons) == {"coup_1": "10"}
    assert await counts(shard, "A") == (990, 0, 10, 1_000)


async def test_a_coupon_given_back_may_be_used_again_and_never_counts_below_zero(shard: Shard) -> None:
    use = Trade(counted=(Counted("coup_1", 1, 1), Counted("coup_1", 1, 1, "bob")), put=(cart("c", 1),))
    back = Trade(counted=(Counted("coup_1", -1), Counted("coup_1", -1, None, "bob")), put=(cart("c", 1),))
    answers = await gathered(shard, [use, use, back, back, use, use])
    spent = Refused(Refusal.COUPON_LIMIT_REACHED)
    assert [answer if isinstance(answer, Refused) else None for answer in answers] == [
        None,
        spent,
        None,
        None,
        None,
        spent,
    ]
    assert await shard.coupon_uses(["coup_1", "coup_2"]) == {"coup_1": 1, "coup_2": 0}


async def test_a_coupon_whose_limit_was_lowered_below_its_count_is_given_back_all_the_same(shard: Shard) -> None:
    assert isinstance(await shard.trade(Trade(counted=(Counted("coup_1", 3),), put=(cart("c", 1),))), Traded)
    assert isinstance(await shard.trade(Trade(counted=(Counted("coup_1", -1, 1),), put=(cart("c", 2),))), Traded)
    assert await shard.coupon_uses(["coup_1"]) == {"coup_1": 2}
