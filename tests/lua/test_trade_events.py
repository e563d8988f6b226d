"""What the log tells of trades: why units came back, and events that add up to the counts."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from engine.carts import CartRecord
from engine.events import Adjusted, Committed, Event, Expired, Extended, Released, Reserved, read_entry
from engine.events import Returned as UnitsReturned
from engine.holds import Line, Reserve
from engine.shard import Shard
from engine.trade import Put, Returned, Trade, Traded
from tests.lua.shop import KEEP_MS, KEYS, claim, counts, create, gathered, made

pytestmark = pytest.mark.anyio


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
