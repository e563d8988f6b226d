"""A look at what is sold out refuses as the script would, without it, and never anything else."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from engine import sold_out
from engine.errors import Unavailable
from engine.fence import Fence
from engine.holds import HoldAnswer, Line, Reserve
from engine.keys import Keys
from engine.refusals import Refusal, Refused, Shortfall
from engine.scripts import load_scripts
from engine.settings import Settings
from engine.shard import Shard
from engine.stock import Adjust
from tests.lua.shop import create, held, reserve

pytestmark = pytest.mark.anyio


class Counted:
    """How often each script was asked."""

    def __init__(self) -> None:
        self.batches: list[str] = []

    def __call__(self, verb: str, _size: int, _seconds: float) -> None:
        self.batches.append(verb)


@pytest.fixture
def counted(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(shard, "_observe", counted)
    return counted


def refusal(*short: tuple[str, int, int]) -> Refused:
    return Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=tuple(Shortfall(*each) for each in short))


async def sell_out(shard: Shard, sku: str, ttl_ms: int = 60_000) -> HoldAnswer:
    """One unit, which is held; and somebody was refused."""
    await create(shard, sku, 1)
    last = await held(shard, {sku: 1}, ttl_ms=ttl_ms)
    assert await shard.reserve(reserve({sku: 1})) == refusal((sku, 1, 0))
    return last


async def test_what_was_refused_lately_is_refused_again_without_the_script(shard: Shard, counted: Counted) -> None:
    await sell_out(shard, "A")
    counted.batches.clear()
    answers = await asyncio.gather(*(shard.reserve(reserve({"A": 1}, customer=f"c{i}")) for i in range(20)))
    assert answers == [refusal(("A", 1, 0))] * 20
    assert counted.batches == []


async def test_after_a_while_the_script_is_asked_again(
    shard: Shard, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sold_out, "RECENT_S", 0.05)
    await sell_out(shard, "A")
    await asyncio.sleep(0.1)
    counted.batches.clear()
    assert await shard.reserve(reserve({"A": 1})) == refusal(("A", 1, 0))
    assert counted.batches == ["reserve"]


async def test_other_lines_of_the_same_sku_are_judged_for_themselves(shard: Shard) -> None:
    await create(shard, "A", 2)
    assert await shard.reserve(reserve({"A": 3})) == refusal(("A", 3, 2))
    assert await shard.reserve(reserve({"A": 3})) == refusal(("A", 3, 2))
    await held(shard, {"A": 1})
    assert await shard.reserve(reserve({"A": 3})) == refusal(("A", 3, 1))
    await held(shard, {"A": 1})


async def test_every_short_line_of_a_hold_is_named_and_no_other(shard: Shard, counted: Counted) -> None:
    await create(shard, "A", 1)
    await create(shard, "B", 9)
    await create(shard, "C", 2)
    wanted = {"A": 2, "B": 2, "C": 3}
    first = await shard.reserve(reserve(wanted))
    counted.batches.clear()
    assert await shard.reserve(reserve(wanted)) == first == refusal(("A", 2, 1), ("C", 3, 2))
    assert counted.batches == []


async def test_units_that_come_back_are_had_at_once_whoever_brought_them(shard: Shard, redis: Redis, kind: str) -> None:
    fence = Fence()
    fence.open("elsewhere", shard.fence.epoch)
    other = Shard(redis, fence, Settings(), scripts=load_scripts(with_flags=kind == "real"))
    last = await sell_out(shard, "A")
    await other.release(last.hold.token)
    await held(shard, {"A": 1})
    assert not shard._sold_out._recent, "nobody looks any more while there are units"
    assert await shard.reserve(reserve({"A": 1})) == refusal(("A", 1, 0))
    await other.adjust(Adjust("one-more", "", "A", 1, "received"))
    await held(shard, {"A": 1})
    await other.close()


async def test_a_hold_past_its_deadline_never_stands_in_the_way(shard: Shard) -> None:
    await sell_out(shard, "A", ttl_ms=150)
    assert await shard.reserve(reserve({"A": 1})) == refusal(("A", 1, 0))
    await asyncio.sleep(0.2)
    await held(shard, {"A": 1})


@pytest.mark.parametrize("also", [(), ("as-it-was-called",)])
async def test_the_retry_of_who_got_the_last_unit_is_no_refusal(shard: Shard, also: tuple[str, ...]) -> None:
    await create(shard, "A", 1)
    first = await held(shard, {"A": 1}, token=also[0] if also else "mine")
    assert await shard.reserve(reserve({"A": 1})) == refusal(("A", 1, 0))
    again = Reserve("mine", "f", None, 60_000, (Line("A", 1),), also)
    assert await shard.reserve(again) == HoldAnswer(first.hold, replayed=True)
    other_payload = Reserve("mine", "other", None, 60_000, (Line("A", 1),), also)
    assert await shard.reserve(other_payload) == Refused(Refusal.KEY_REUSED)


async def test_in_one_batch_of_looks_each_gets_its_own_answer(shard: Shard) -> None:
    mine = await sell_out(shard, "A")
    await create(shard, "B", 1)
    assert await shard.reserve(reserve({"B": 2})) == refusal(("B", 2, 1))
    answers = await asyncio.gather(
        shard.reserve(reserve({"A": 1})),
        shard.reserve(reserve({"A": 1}, token=mine.hold.token)),
        shard.reserve(reserve({"B": 2})),
        shard.reserve(reserve({"B": 1})),
        shard.reserve(reserve({"A": 1})),
    )
    assert answers[0] == answers[4] == refusal(("A", 1, 0))
    assert answers[1] == HoldAnswer(mine.hold, replayed=True)
    assert answers[2] in (refusal(("B", 2, 1)), refusal(("B", 2, 0)))
    assert isinstance(answers[3], HoldAnswer)


async def test_an_emptied_redis_refuses_nobody_for_want_of_stock(shard: Shard, redis: Redis) -> None:
    await sell_out(shard, "A")
    await redis.delete(Keys().meta)
    with pytest.raises(Unavailable, match="not verified"):
        await shard.reserve(reserve({"A": 1}))


async def test_what_is_remembered_is_bounded(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sold_out, "MAX_REMEMBERED", 3)
    await create(shard, "A", 0)
    for quantity in range(1, 9):
        assert await shard.reserve(reserve({"A": quantity})) == refusal(("A", quantity, 0))
        assert 1 <= len(shard._sold_out._recent) <= 3
