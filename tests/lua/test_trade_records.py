"""Carts, orders and whose cart it is: a trade writes them only where they are still what it was judged by."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from engine.shard import Shard
from engine.trade import Changed, Counted, Known, Returned, Trade, Traded
from tests.lua.shop import cart, claim, counts, create, dump, gathered, made, pointer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("version", [0, 2, 11])
async def test_a_record_of_another_version_than_the_one_judged_by_is_a_change(shard: Shard, version: int) -> None:
    assert isinstance(await shard.trade(Trade(put=(cart("c", 1),))), Traded)
    assert await shard.trade(Trade(known=(Known("cart", "c", version),), put=(cart("c", 9),))) == Changed()
    assert await shard.trade(Trade(known=(Known("order", "c", 1),), put=(cart("c", 9),))) == Changed()
    assert isinstance(await shard.trade(Trade(known=(Known("cart", "c", 1),), put=(cart("c", 12),))), Traded)
    assert isinstance(await shard.trade(Trade(known=(Known("cart", "c", 12),), put=(cart("c", 13),))), Traded)


async def test_the_second_of_two_changes_of_one_cart_in_one_batch_is_told_so(shard: Shard) -> None:
    await create(shard, "A", 10)
    trades = [Trade(known=(Known("cart", "c", 0),), made=(claim("A", 1),), put=(cart("c", 1),)) for _ in range(5)]
    answers = await gathered(shard, trades)
    assert isinstance(answers[0], Traded)
    assert answers[1:] == [Changed()] * 4
    assert await counts(shard, "A") == (9, 1, 0, 10)


async def test_a_trade_whose_reply_was_lost_and_that_is_sent_again_happens_once(shard: Shard, redis: Redis) -> None:
    """The client of Redis asks again by itself; what a trade wrote tells that it was this very one."""
    await create(shard, "A", 9, limit=9)
    held = await made(shard, "A", 2, "bob")
    trades = [
        Trade(known=(Known("cart", "c", 0), Known("customer", "k", 0)), put=(cart("c", 1), pointer("k", "c"))),
        Trade(known=(Known("cart", "c", 1),), ended=(held,), made=(claim("A", 3, "bob"),), put=(cart("c", 2),)),
        Trade(
            known=(Known("cart", "c", 2), Known("order", "o", 0)),
            made=(claim("A", 1, "bob", is_sold=True),),
            counted=(Counted("coup_1", 1, 1),),
            put=(cart("c", 3), pointer("k", "", 0)),
        ),
        Trade(known=(Known("cart", "c", 3),), returned=(Returned("A", 1, "bob"),), put=(cart("c", 4),)),
    ]
    for trade in trades:
        assert isinstance(await shard.trade(trade), Traded)
        before = await dump(redis)
        assert isinstance(await shard.trade(trade), Traded)
        assert await dump(redis) == before
    at_last = await dump(redis)
    assert await shard.trade(trades[0]) == Changed()
    assert isinstance(await shard.trade(trades[1]), Traded)
    assert await dump(redis) == at_last


async def test_a_record_that_a_batch_removed_is_gone_for_the_next_of_that_batch(shard: Shard) -> None:
    assert isinstance(await shard.trade(Trade(put=(cart("c", 1), pointer("k", "c")))), Traded)
    gone = Trade(known=(Known("customer", "k", 1),), put=(cart("c", 1), pointer("k", "c", 0)))
    stale = Trade(known=(Known("customer", "k", 1),), put=(cart("d", 1), pointer("k", "d")))
    anew = Trade(known=(Known("customer", "k", 0),), put=(cart("e", 1), pointer("k", "e")))
    first, second, third = await gathered(shard, [gone, stale, anew])
    assert (type(first), second, type(third)) == (Traded, Changed(), Traded)
