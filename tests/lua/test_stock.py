"""What the scripts of stock answer and write, status by status, on fakeredis and on the real server."""

from __future__ import annotations

import asyncio

import pytest

from engine.idempotency import fresh_token
from engine.refusals import Refusal, Refused, Shortfall
from engine.shard import Shard
from engine.stock import Adjust, StockAnswer
from tests.lua.shop import counts, create, held

pytestmark = pytest.mark.anyio


async def test_a_write_off_reclaims_what_is_due_before_it_is_refused(shard: Shard) -> None:
    await create(shard, "A", 5)
    await held(shard, {"A": 5}, ttl_ms=1)
    await asyncio.sleep(0.01)
    answer = await shard.adjust(Adjust("loss", "f", "A", -5, "broken"))
    assert isinstance(answer, StockAnswer)
    assert await counts(shard, "A") == (0, 0, 0, 0)


async def test_adjust_receives_and_writes_off_but_never_below_zero(shard: Shard) -> None:
    await create(shard, "A", 5)
    answer = await shard.adjust(Adjust("in", "f", "A", 7, "received"))
    assert isinstance(answer, StockAnswer)
    assert (answer.level.available, answer.level.received, answer.level.on_hand) == (12, 12, 12)
    refused = await shard.adjust(Adjust("out", "f", "A", -13, "broken"))
    assert refused == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 13, 12),))
    unknown = await shard.adjust(Adjust("who", "f", "X", 1, "received"))
    assert unknown == Refused(Refusal.UNKNOWN_SKU, skus=("X",))


async def test_an_adjustment_asked_twice_is_done_once(shard: Shard) -> None:
    await create(shard, "A", 5)
    request = Adjust("in", "f", "A", 7, "received")
    first, again = await asyncio.gather(shard.adjust(request), shard.adjust(request))
    assert isinstance(first, StockAnswer) and isinstance(again, StockAnswer)
    assert (first.level, first.replayed, again.replayed) == (again.level, False, True)
    reused = await shard.adjust(Adjust("in", "g", "A", 8, "received"))
    assert reused == Refused(Refusal.KEY_REUSED)
    assert await counts(shard, "A") == (12, 0, 0, 12)


async def test_a_sku_is_created_once(shard: Shard) -> None:
    await create(shard, "A", 5)
    again = await shard.adjust(Adjust(fresh_token(), "", "A", 9, "created", create=True))
    assert again == Refused(Refusal.SKU_EXISTS, skus=("A",))
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_counts_stay_within_what_can_be_written_exactly(shard: Shard) -> None:
    await create(shard, "A", 0)
    answer = await shard.adjust(Adjust("in", "f", "A", 10**12 + 1, "received"))
    assert answer == Refused(Refusal.COUNT_TOO_LARGE, skus=("A",))
    await shard.adjust(Adjust("in", "f", "A", 10**12, "received"))
    assert await counts(shard, "A") == (10**12, 0, 0, 10**12)


async def test_skus_are_listed_in_order_page_by_page(shard: Shard) -> None:
    for sku in ("b", "A", "c.1", "a"):
        await create(shard, sku, 1)
    first = await shard.stock_page(None, 3)
    assert [level.sku for level in first.levels] == ["A", "a", "b"]
    rest = await shard.stock_page(first.next_after, 3)
    assert [level.sku for level in rest.levels] == ["c.1"]
    assert rest.next_after is None
