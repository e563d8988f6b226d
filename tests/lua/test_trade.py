"""What trade.lua answers and writes, status by status, on fakeredis and on the real server: all of it, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from engine.carts import CartRecord
from engine.errors import Unavailable
from engine.events import Adjusted, Committed, Event, Expired, Extended, Released, Reserved, read_entry
from engine.events import Returned as UnitsReturned
from engine.holds import HoldAnswer, HoldStatus, Line, Reserve
from engine.idempotency import fresh_token
from engine.keys import Keys
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.settings import Settings
from engine.shard import Shard
from engine.stock import Adjust, StockAnswer
from engine.trade import Changed, Counted, Known, Made, Put, Remember, Replayed, Returned, Trade, Traded

pytestmark = pytest.mark.anyio

KEYS = Keys()
KEEP_MS = 100_000
Dump = dict[str, Any]


async def create(shard: Shard, sku: str, on_hand: int, limit: int | None = None) -> None:
    request = Adjust(fresh_token(), "", sku, on_hand, "created", create=True, customer_limit=limit)
    assert isinstance(await shard.adjust(request), StockAnswer)


async def counts(shard: Shard, sku: str) -> tuple[int, int, int, int]:
    level = await shard.stock(sku)
    assert level is not None
    return level.available, level.reserved, level.sold, level.received


async def made(shard: Shard, sku: str, quantity: int, customer: str | None = None, ttl_ms: int = 60_000) -> str:
    """The token of a hold that a trade made."""
    now_ms, _ = await shard.texts("any")
    token = fresh_token()
    hold = Made(sku, quantity, customer, now_ms, now_ms + ttl_ms, token=token)
    assert isinstance(await shard.trade(Trade(made=(hold,))), Traded)
    return token


def claim(sku: str, quantity: int, customer: str | None = None, *, is_sold: bool = False) -> Made:
    return Made(sku, quantity, customer, 1_000, 9_000_000_000_000, is_sold)


def cart(token: str, version: int, keep_ms: int = KEEP_MS) -> Put:
    return Put("cart", token, msgspec.json.encode(CartRecord(version, "open", "bob", "GBP", 1, 2)), keep_ms)


def pointer(customer: str, token: str, keep_ms: int = KEEP_MS) -> Put:
    return Put("customer", customer, msgspec.json.encode((1, token)), keep_ms)


async def dump(redis: Redis) -> Dump:
    """Everything under the shard's tag."""
    found: Dump = {}
    async for key in redis.scan_iter(match="*", count=1_000):
        match await redis.type(key):
            case "string":
                found[key] = await redis.get(key)
            case "hash":
                found[key] = await redis.hgetall(key)
            case "zset":
                found[key] = await redis.zrange(key, 0, -1, withscores=True)
            case "stream":
                found[key] = await redis.xrange(key)
            case other:
                raise AssertionError(other)
    return found


async def gathered(shard: Shard, trades: list[Trade]) -> list[Any]:
    """In one turn of the loop, so in one batch, judged in order."""
    return list(await asyncio.gather(*(shard.trade(trade) for trade in trades)))


async def changes(redis: Redis) -> dict[str, list[int]]:
    """What the log's events add up to: available, reserved and sold units of each SKU."""
    entries: Any = await redis.xrange(KEYS.events)
    sums: dict[str, list[int]] = {}
    for entry_id, fields in entries:
        for event in read_entry(entry_id, fields).events:
            assert isinstance(event, Event), event
            body = event.body
            match body:
                case Reserved():
                    factors = (-1, 1, 0)
                case Committed():
                    factors = (0, -1, 1)
                case Released() | Expired():
                    factors = (1, -1, 0)
                case UnitsReturned():
                    factors = (1, 0, -1)
                case Adjusted():
                    sums.setdefault(body.sku, [0, 0, 0])[0] += body.delta
                    continue
                case _:
                    continue
            for sku, quantity in body.lines:
                sums[sku] = [count + factor * quantity for count, factor in zip(sums[sku], factors, strict=True)]
    return sums


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
    assert await redis.zrange(KEYS.deadlines, 0, -1, withscores=True) == [(fresh.token, float(fresh.expires_ms))]
    assert await redis.zrange(KEYS.payments, 0, -1, withscores=True) == [("o", 77_000.0)]
    assert await redis.hgetall(KEYS.coupons) == {"coup_1": "1", "coup_1|bob": "1"}
    assert await redis.get(KEYS.cart("c")) == cart("c", 1).text.decode()
    assert await redis.get(KEYS.cart_of("k")) == '[1,"c"]'
    assert 0 < await redis.pttl(KEYS.cart("c")) <= KEEP_MS
    assert 0 < await redis.pttl(KEYS.memory("key")) <= 86_400_000


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


async def test_a_trade_under_a_key_happens_once_and_is_answered_the_same_again(shard: Shard) -> None:
    await create(shard, "A", 5)
    memory = Remember("key", "f", '{"text":"ä \\" 1e2"}'.encode())
    trades = [
        Trade(known=(Known("cart", "c", 0),), made=(claim("A", 1),), put=(cart("c", 1),), remember=memory)
        for _ in range(3)
    ]
    first, second = await gathered(shard, trades[:2])
    assert (type(first), second) == (Traded, Replayed(memory.text))
    assert await shard.trade(trades[2]) == Replayed(memory.text)
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


async def test_units_returned_are_available_again_and_the_log_says_why(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5, limit=4)
    assert isinstance(await shard.trade(Trade(made=(claim("A", 4, "bob", is_sold=True),))), Traded)
    back = Trade(returned=(Returned("A", 3, "bob"),), reference="ord_o", reason="canceled")
    assert isinstance(await shard.trade(back), Traded)
    assert await counts(shard, "A") == (4, 0, 1, 5)
    assert await shard.customer_units([("A", "bob")]) == [1]
    entries: Any = await redis.xrevrange(KEYS.events, count=1)
    (event,) = read_entry(*entries[0]).events
    assert isinstance(event, Event)
    assert event.body == UnitsReturned("ord_o", "canceled", "bob", (("A", 3),))


async def test_the_log_of_trades_is_read_event_by_event_and_adds_up_to_the_counts(shard: Shard, redis: Redis) -> None:
    for sku in ("A", "B"):
        await create(shard, sku, 100, limit=90)
    kept = [await made(shard, "A", 1, "bob") for _ in range(10)]
    late = await made(shard, "B", 7, ttl_ms=1)
    await asyncio.sleep(0.01)
    text = CartRecord(1, "open", 'ä"\\|', "GBP", 1, 2, coupon="\n")
    trades = [
        Trade(ended=(late,), made=(claim("B", 9, "bob", is_sold=True),), reference="ord_1"),
        *(Trade(sold=(token,), made=(claim("A", 2),), reference=f"ord_{token}") for token in kept[:5]),
        Trade(ended=tuple(kept[5:]), put=(Put("cart", "c", msgspec.json.encode(text), KEEP_MS),)),
        Trade(made=(claim("A", 1_000),)),
        Trade(returned=(Returned("B", 4, "bob"),), reference="ord_1", reason="returned"),
    ]
    await gathered(shard, trades)
    await shard.reserve(Reserve("plain", "f", None, 60_000, (Line("A", 3), Line("B", 1))))
    await shard.extend("plain", 90)
    entries: Any = await redis.xrange(KEYS.events)
    read = [read_entry(entry_id, fields) for entry_id, fields in entries]
    events = [event for entry in read for event in entry.events]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.body.record for event in events if isinstance(event, Event) and event.kind == "cart"] == [text]  # type: ignore[union-attr]
    assert any(isinstance(event, Event) and isinstance(event.body, Extended) for event in events)
    for sku, sums in (await changes(redis)).items():
        assert tuple(sums) == (await counts(shard, sku))[:3]
    assert await counts(shard, "A") == (100 - 5 - 10 - 3, 13, 5, 100)


async def test_a_trade_keeps_live_holds_beyond_their_deadline_and_ended_ones_for_the_retention(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 5)
    live, ended = await made(shard, "A", 1), await made(shard, "A", 1)
    assert isinstance(await shard.trade(Trade(ended=(ended,))), Traded)
    weeks_ms, day_ms = 30 * 86_400_000, 86_400_000
    assert weeks_ms + day_ms < await redis.pttl(KEYS.hold(live)) <= weeks_ms + day_ms + 60_000
    assert day_ms - 10_000 < await redis.pttl(KEYS.hold(ended)) <= day_ms


async def test_a_trade_of_another_epoch_changes_nothing(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    before = await dump(redis)
    shard.fence.open("this server", 2)
    with pytest.raises(Unavailable):
        await shard.trade(Trade(made=(claim("A", 1),), put=(cart("c", 1),)))
    assert await dump(redis) == before
