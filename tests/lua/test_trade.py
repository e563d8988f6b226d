"""What trade.lua answers and writes, status by status, on fakeredis and on the real server: all of it, or nothing."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.holds import HoldStatus, Line, Reserve
from engine.idempotency import fresh_token
from engine.memories import remembered
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.settings import Settings
from engine.shard import Shard
from engine.stock import Adjust
from engine.trade import Changed, Counted, Known, Remember, Replayed, Returned, Trade, Traded
from tests.bundles import live_deadlines_in
from tests.lua.shop import KEEP_MS, KEYS, cart, claim, counts, create, dump, gathered, made, pointer

pytestmark = pytest.mark.anyio


async def test_a_trade_does_all_of_its_parts_in_one_step(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 10)
    await create(shard, "B", 10)
    given_up, kept = await made(shard, "A", 2), await made(shard, "B", 3, "bob")
    fresh, instant = claim("A", 4, "bob"), claim("B", 1, "bob", is_sold=True)
    trade = Trade(
        known=(Known("cart", "c", 0), Known("customer", "k", 0)),
        ended=(given_up,),
        sold=(kept,),
        made=(fresh, instant),
        counted=(Counted("coup_1", 1, 5), Counted("coup_1", 1, 2, "bob")),
        put=(cart("c", 1), pointer("k", "c")),
        window=("o", 77_000),
        remember=Remember("key", "f", b'{"an":"answer"}'),
        reference="ord_o",
    )
    assert isinstance(await shard.trade(trade), Traded)
    assert await counts(shard, "A") == (6, 4, 0, 10)
    assert await counts(shard, "B") == (6, 0, 4, 10)
    statuses = [(await shard.hold(token)) for token in (given_up, kept, fresh.token, instant.token)]
    assert [hold and hold.status for hold in statuses] == [
        HoldStatus.RELEASED,
        HoldStatus.COMMITTED,
        HoldStatus.HELD,
        HoldStatus.COMMITTED,
    ]
    assert await live_deadlines_in(redis, KEYS) == {fresh.token: float(fresh.expires_ms)}
    assert await redis.zrange(KEYS.payments, 0, -1, withscores=True) == [("o", 77_000.0)]
    assert await redis.hgetall(KEYS.coupons) == {"coup_1": "1", "coup_1|bob": "1"}
    assert await redis.get(KEYS.cart("c")) == cart("c", 1).text.decode()
    assert await redis.get(KEYS.cart_of("k")) == '[1,"c"]'
    assert 0 < await redis.pttl(KEYS.cart("c")) <= KEEP_MS
    assert 0 < await redis.pttl(KEYS.memory("key")) <= 86_400_000


async def test_a_batch_of_trades_is_short_so_that_redis_and_who_asks_it_work_side_by_side(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(shard, "A", 200)
    sizes: list[int] = []
    monkeypatch.setattr(shard, "_observe", lambda _verb, size, _seconds: sizes.append(size))
    trades = [Trade(made=(claim("A", 1),)) for _ in range(110)]
    answers = await asyncio.gather(*(shard.trade(trade) for trade in trades))
    assert all(isinstance(answer, Traded) for answer in answers)
    assert (sum(sizes), max(sizes)) == (110, 48)


async def test_a_trade_takes_away_what_it_is_told_to(shard: Shard, redis: Redis) -> None:
    first = Trade(counted=(Counted("coup_1", 2),), put=(cart("c", 1), pointer("k", "c")), window=("o", 77_000))
    assert isinstance(await shard.trade(first), Traded)
    gone = Trade(counted=(Counted("coup_1", -3),), put=(cart("c", 2), pointer("k", "", 0)), window=("o", 0))
    assert isinstance(await shard.trade(gone), Traded)
    assert await redis.exists(KEYS.coupons, KEYS.payments, KEYS.cart_of("k")) == 0
    assert isinstance(await shard.trade(Trade(known=(Known("customer", "k", 0),), put=(cart("c", 3),))), Traded)


REFUSING: dict[str, tuple[Trade, Changed | Refused]] = {
    "changed": (Trade(known=(Known("cart", "other", 7),)), Changed()),
    "hold-expired": (Trade(sold=("released",)), Refused(Refusal.HOLD_EXPIRED, skus=("B",))),
    "hold-forgotten": (Trade(sold=("forgotten",)), Refused(Refusal.HOLD_EXPIRED, skus=("",))),
    "unknown-sku": (Trade(made=(claim("X", 1), claim("Y", 1))), Refused(Refusal.UNKNOWN_SKU, skus=("X", "Y"))),
    "insufficient-stock": (
        Trade(made=(claim("B", 11), claim("LIMITED", 21))),
        Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("B", 11, 10), Shortfall("LIMITED", 21, 20))),
    ),
    "customer-limit-exceeded": (
        Trade(made=(claim("LIMITED", 4, "bob"),)),
        Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("LIMITED", 4, 3),)),
    ),
    "coupon-limit-reached": (
        Trade(counted=(Counted("coup_1", 1, 2, "bob"),)),
        Refused(Refusal.COUPON_LIMIT_REACHED),
    ),
}


@pytest.mark.parametrize("name", REFUSING)
async def test_a_trade_of_which_one_part_is_refused_changes_nothing_at_all(
    shard: Shard, redis: Redis, name: str
) -> None:
    await create(shard, "A", 10, limit=9)
    await create(shard, "B", 10)
    await create(shard, "LIMITED", 20, limit=3)
    ended, sold = await made(shard, "A", 2, "bob"), await made(shard, "A", 1, "bob")
    assert isinstance(await shard.trade(Trade(made=(claim("A", 1, "bob", is_sold=True),))), Traded)
    start = Trade(counted=(Counted("coup_1", 2), Counted("coup_1", 2, None, "bob")), put=(cart("c", 1),))
    assert isinstance(await shard.trade(start), Traded)
    await shard.reserve(Reserve("released", "f", None, 60_000, (Line("B", 1),)))
    await shard.release("released")
    part, expected = REFUSING[name]
    before = await dump(redis)
    whole = Trade(
        known=(Known("cart", "c", 1), *part.known),
        ended=(ended,),
        sold=(sold, *part.sold),
        made=(claim("A", 1, "bob"), claim("A", 1, "bob", is_sold=True), *part.made),
        returned=(Returned("A", 1, "bob"),),
        counted=(Counted("coup_1", 1, 9), *part.counted),
        put=(cart("c", 2), pointer("k", "c")),
        window=("o", 77_000),
        remember=Remember("key", "f", b"{}"),
    )
    assert await shard.trade(whole) == expected
    assert await dump(redis) == before
    fine = replace(whole, known=whole.known[:1], sold=(sold,), made=whole.made[:2], counted=whole.counted[:1])
    assert isinstance(await shard.trade(fine), Traded)


async def test_of_several_refusals_the_first_in_the_order_of_the_header_is_told(shard: Shard) -> None:
    await create(shard, "A", 1)
    await create(shard, "LIMITED", 20, limit=3)
    assert isinstance(await shard.trade(Trade(counted=(Counted("coup_1", 1),), put=(cart("other", 1),))), Traded)
    trade = Trade(
        known=(Known("cart", "c", 1),),
        sold=(fresh_token(),),
        made=(claim("X", 1), claim("A", 2), claim("LIMITED", 4, "bob")),
        counted=(Counted("coup_1", 1, 1),),
    )
    assert await shard.trade(trade) == Changed()
    trade = replace(trade, known=())
    assert await shard.trade(trade) == Refused(Refusal.HOLD_EXPIRED, skus=("",))
    trade = replace(trade, sold=())
    assert await shard.trade(trade) == Refused(Refusal.UNKNOWN_SKU, skus=("X",))
    trade = replace(trade, made=trade.made[1:])
    assert await shard.trade(trade) == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 2, 1),))
    trade = replace(trade, made=trade.made[1:])
    over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("LIMITED", 4, 3),))
    assert await shard.trade(trade) == over
    trade = replace(trade, made=())
    assert await shard.trade(trade) == Refused(Refusal.COUPON_LIMIT_REACHED)


async def test_a_trade_under_a_key_happens_once_and_is_answered_the_same_again(shard: Shard) -> None:
    await create(shard, "A", 5)
    memory = Remember("key", "f", '{"text":"ä \\" 1e2","none":[]}'.encode())
    trades = [
        Trade(known=(Known("cart", "c", 0),), made=(claim("A", 1),), put=(cart("c", 1),), remember=memory)
        for _ in range(3)
    ]
    first, second = await gathered(shard, trades[:2])
    assert (type(first), second) == (Traded, Replayed(remembered("f", memory.answer)))
    assert await shard.trade(trades[2]) == Replayed(remembered("f", memory.answer))
    other = replace(trades[0], remember=Remember("key", "g", b"{}"))
    assert await shard.trade(other) == Refused(Refusal.KEY_REUSED)
    assert await counts(shard, "A") == (4, 1, 0, 5)


async def test_a_refusal_under_a_key_is_not_remembered(shard: Shard) -> None:
    await create(shard, "A", 1)
    trade = Trade(made=(claim("A", 2),), remember=Remember("key", "f", b"{}"))
    assert isinstance(await shard.trade(trade), Refused)
    await shard.adjust(Adjust("more", "f", "A", 5, "received"))
    assert isinstance(await shard.trade(trade), Traded)


async def test_past_the_high_water_mark_nothing_more_is_claimed_and_everything_else_finishes(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 50)
    three = await made(shard, "A", 3)
    narrow = Shard(redis, shard.fence, Settings(high_water_events=2), scripts=shard._scripts)
    before = await dump(redis)
    with pytest.raises(Unavailable):
        await narrow.trade(Trade(made=(claim("A", 1),)))
    with pytest.raises(Unavailable):
        await narrow.trade(Trade(ended=(three,), made=(claim("A", 4),)))
    assert await dump(redis) == before
    lowered = claim("A", 2)
    assert isinstance(await narrow.trade(Trade(ended=(three,), made=(lowered,))), Traded)
    assert isinstance(await narrow.trade(Trade(sold=(lowered.token,), put=(cart("c", 1),))), Traded)
    assert isinstance(await narrow.trade(Trade(returned=(Returned("A", 2, None),))), Traded)
    await narrow.close()


async def test_the_events_of_one_batch_count_towards_the_high_water_mark(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 50)
    narrow = Shard(redis, shard.fence, Settings(high_water_events=5), scripts=shard._scripts)
    answers = await asyncio.gather(
        *(narrow.trade(Trade(made=(claim("A", 1),))) for _ in range(9)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Traded] * 4 + [Unavailable] * 5
    assert await counts(shard, "A") == (46, 4, 0, 50)
    await narrow.close()


async def test_a_shard_that_turns_away_makes_no_claims_and_still_ends_them(shard: Shard) -> None:
    await create(shard, "A", 5)
    held = await made(shard, "A", 3)
    shard.turned_away = "Redis is nearly full"
    with pytest.raises(Unavailable):
        await shard.trade(Trade(made=(claim("A", 1),)))
    assert isinstance(await shard.trade(Trade(ended=(held,), put=(cart("c", 1),))), Traded)


async def test_a_trade_of_another_epoch_changes_nothing(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    before = await dump(redis)
    shard.fence.open("this server", 2)
    with pytest.raises(Unavailable):
        await shard.trade(Trade(made=(claim("A", 1),), put=(cart("c", 1),)))
    assert await dump(redis) == before
