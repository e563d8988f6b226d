"""Guards of the scripts and of the shard that calls them; each test fails when its guard is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.expiring import Expiry
from engine.holds import HoldAnswer, HoldStatus, Line, Reserve
from engine.idempotency import Keyed, fresh_token
from engine.keys import Keys
from engine.refusals import Refusal, Refused
from engine.restore import Restorer
from engine.shard import Shard
from engine.stock import Adjust, StockLevel
from tests.bundles import deadlines_in
from tests.lua.shop import create, dump

pytestmark = pytest.mark.anyio

RETENTION_MS = 86_400_000


def claim(quantity: int, *, token: str | None = None, customer: str | None = None, ttl_ms: int = 60_000) -> Reserve:
    return Reserve(token or fresh_token(), "f", customer, ttl_ms, (Line("A", quantity),))


def batch(quantities: list[int], *, group: str = "group", mark: str = "f") -> list[Reserve]:
    return [
        Reserve(f"{group}-{position}", mark, None, 60_000, (Line("A", quantity),), (), group, position)
        for position, quantity in enumerate(quantities, 1)
    ]


async def held(shard: Shard, quantity: int, **options: Any) -> HoldAnswer:
    answer = await shard.reserve(claim(quantity, **options))
    assert isinstance(answer, HoldAnswer), answer
    return answer


def outline(answers: list[Any]) -> list[Any]:
    """The answers without the mark that tells a first answer from its replay."""
    return [answer.hold if isinstance(answer, HoldAnswer) else answer for answer in answers]


async def counts(shard: Shard) -> tuple[int, int, int]:
    level = await shard.stock("A")
    assert level is not None
    return level.available, level.reserved, level.sold


async def test_a_batch_call_sent_twice_at_once_is_judged_once_refusals_included(shard: Shard) -> None:
    await create(shard, "A", 3)
    first, second = await asyncio.gather(shard.reserve_group(batch([5, 2])), shard.reserve_group(batch([5, 2])))
    assert outline(first) == outline(second)
    assert outline(await shard.reserve_group(batch([5, 2]))) == outline(first)
    assert await counts(shard) == (1, 2, 0)


@pytest.mark.parametrize("quantities", [[5], [1], [1, 1, 1]])
async def test_two_batch_calls_under_one_key_at_once_never_mix(shard: Shard, quantities: list[int]) -> None:
    await create(shard, "A", 3)
    one, other = batch(quantities, mark="f"), batch([2, 1], mark="g")
    first, second = await asyncio.gather(shard.reserve_group(one), shard.reserve_group(other))
    for asked, answered in ((one, first), (other, second)):
        if any(isinstance(answer, HoldAnswer) for answer in answered):
            assert outline(await shard.reserve_group(asked)) == outline(answered)
    made = [any(isinstance(answer, HoldAnswer) for answer in answered) for answered in (first, second)]
    assert made.count(True) <= 1


async def test_two_payloads_under_one_key_at_once_never_share_a_hold(shard: Shard) -> None:
    await create(shard, "A", 5)
    other = Reserve("once", "g", None, 60_000, (Line("A", 2),))
    answers = await asyncio.gather(shard.reserve(claim(1, token="once")), shard.reserve(other))
    assert isinstance(answers[0], HoldAnswer)
    assert answers[1] == Refused(Refusal.KEY_REUSED)
    assert await counts(shard) == (4, 1, 0)


async def test_of_a_batch_call_sent_twice_at_once_the_second_is_told_that_it_is_a_replay(shard: Shard) -> None:
    await create(shard, "A", 5)
    given = await asyncio.gather(shard.reserve_group(batch([1, 2])), shard.reserve_group(batch([1, 2])))
    marks = [[isinstance(answer, HoldAnswer) and answer.replayed for answer in answers] for answers in given]
    assert marks == [[False, False], [True, True]]


async def test_a_batch_whose_holds_may_have_other_names_is_remembered_as_a_whole(shard: Shard) -> None:
    await create(shard, "A", 3)
    asked = [replace(request, also=(f"{request.token}-before",)) for request in batch([1, 5, 2])]
    first = await shard.reserve_group(asked)
    assert [isinstance(answer, HoldAnswer) for answer in first] == [True, False, True]
    await shard.adjust(Adjust("more", "f", "A", 5, "received"))
    assert outline(await shard.reserve_group(asked)) == outline(first)


async def test_a_batch_that_just_stays_below_the_high_water_mark_is_made(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await redis.hset(Keys().meta, "seq", "1997")
    answers = await shard.reserve_group(batch([1, 1, 1]))
    assert [isinstance(answer, HoldAnswer) for answer in answers] == [True] * 3


async def test_holds_of_one_batch_have_each_their_own_deadline_and_life(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    lives_ms = (60_000, 600_000, 60_000)
    answers = await asyncio.gather(*(held(shard, 1, ttl_ms=life_ms) for life_ms in lives_ms))
    for answer, life_ms in zip(answers, lives_ms, strict=True):
        token = answer.hold.token
        assert answer.hold.expires_ms - answer.hold.created_ms == life_ms
        assert (await deadlines_in(redis, Keys()))[token] == answer.hold.expires_ms
        assert await shard.hold(token) == answer.hold
        kept_ms = await redis.pttl(Keys().hold(token)) - RETENTION_MS - 30 * 86_400_000
        assert life_ms - 10_000 < kept_ms <= life_ms


async def test_what_is_still_due_after_a_sweep_is_waited_for_by_nobody(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sweep_nothing(_: int) -> None:
        return

    monkeypatch.setattr(shard, "_sweep", sweep_nothing)
    await create(shard, "A", 3)
    await held(shard, 2, ttl_ms=1)
    await asyncio.sleep(0.01)
    (answer,) = await shard.reserve_group(batch([2]))
    for refused in (answer, await shard.reserve(claim(2))):
        assert isinstance(refused, Refused) and refused.refusal is Refusal.INSUFFICIENT_STOCK


async def test_commits_of_one_hold_at_once_are_all_told_that_it_is_sold_and_sell_it_once(shard: Shard) -> None:
    await create(shard, "A", 3)
    token = (await held(shard, 2)).hold.token
    keyed = Keyed("pay", "f")
    answers = await asyncio.gather(
        shard.commit(token, keyed), shard.commit(token, keyed), shard.commit(token), shard.commit(token)
    )
    assert [isinstance(answer, HoldAnswer) and answer.hold.status for answer in answers] == [HoldStatus.COMMITTED] * 4
    assert [isinstance(answer, HoldAnswer) and answer.replayed for answer in answers] == [False, True, False, False]
    assert await counts(shard) == (1, 0, 2)


async def test_too_little_stock_is_told_before_a_limit_that_is_reached_as_well(shard: Shard) -> None:
    await create(shard, "A", 1, limit=1)
    refused = await shard.reserve(claim(2, customer="bob"))
    assert isinstance(refused, Refused) and refused.refusal is Refusal.INSUFFICIENT_STOCK


async def test_an_event_that_is_refused_leaves_everything_as_it_was_whatever_the_verb(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 9, limit=8)
    token = (await held(shard, 1, customer="bob")).hold.token
    await redis.hset(Keys().meta, "seq", "0")
    before = await dump(redis)
    for asked in (
        shard.reserve(claim(1, customer="bob")),
        shard.reserve_group([replace(request, customer_id="bob") for request in batch([1, 2])]),
        shard.commit(token, Keyed("pay", "f"), "till-7"),
        shard.extend(token, 600, Keyed("longer", "f")),
        shard.release(token),
        shard.adjust(Adjust("more", "f", "A", 5, "received")),
    ):
        with pytest.raises(Exception, match="equal or smaller"):
            await asked
        assert await dump(redis) == before


async def test_a_batch_of_refusals_is_not_remembered_even_when_others_succeed_beside_it(shard: Shard) -> None:
    await create(shard, "A", 3)
    refused, other = await asyncio.gather(shard.reserve_group(batch([5])), shard.reserve(claim(1)))
    assert isinstance(refused[0], Refused)
    assert isinstance(other, HoldAnswer)
    await shard.adjust(Adjust("more", "f", "A", 5, "received"))
    (again,) = await shard.reserve_group(batch([5]))
    assert isinstance(again, HoldAnswer)


async def test_a_batch_reclaims_what_is_due_before_any_of_it_is_judged_and_remembered(shard: Shard) -> None:
    await create(shard, "A", 3)
    await held(shard, 2, ttl_ms=1)
    await asyncio.sleep(0.01)
    answers = await shard.reserve_group(batch([1, 2, 1]))
    assert [isinstance(answer, HoldAnswer) for answer in answers] == [True, True, False]
    assert outline(await shard.reserve_group(batch([1, 2, 1]))) == outline(answers)


async def test_a_batch_call_is_replayed_as_first_answered_after_its_holds_went_on(shard: Shard) -> None:
    await create(shard, "A", 3)
    first = await shard.reserve_group(batch([1, 2]))
    await shard.commit("group-1")
    await shard.release("group-2")
    again = await shard.reserve_group(batch([1, 2]))
    assert outline(again) == outline(first)
    assert all(isinstance(answer, HoldAnswer) and answer.replayed for answer in again)


async def test_more_lines_than_lua_can_unpack_are_read_and_written_in_parts(shard: Shard, redis: Redis) -> None:
    skus = [f"S{number}" for number in range(8_200)]

    async def parts() -> AsyncIterator[list[StockLevel]]:
        yield [StockLevel(sku, 2, 0, 0, 2, None) for sku in skus]

    await Restorer(redis, Keys()).put_levels(parts())
    requests = [
        Reserve(
            f"many-{first}", "f", None, 60_000, tuple(Line(sku, 1) for sku in skus[first : first + 100]), (), "many", n
        )
        for n, first in enumerate(range(0, len(skus), 100), 1)
    ]
    answers = await shard.reserve_group(requests)
    assert all(isinstance(answer, HoldAnswer) for answer in answers)
    levels = await shard.stock_of([skus[0], skus[-1]])
    assert [(level.available, level.reserved) for level in levels.values()] == [(1, 1)] * 2


async def test_an_extended_hold_comes_due_and_is_let_go_of_by_its_new_deadline(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 3)
    hold = (await held(shard, 1)).hold
    extended = await shard.extend(hold.token, 900)
    assert isinstance(extended, HoldAnswer)
    assert await redis.zscore(Keys().deadlines, hold.token) == extended.hold.expires_ms
    kept_ms = await redis.pttl(Keys().hold(hold.token)) - RETENTION_MS - 30 * 86_400_000
    assert 890_000 < kept_ms <= 900_000


async def test_an_orphan_leaves_the_deadlines_and_once_ended_the_orphans(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 3)
    hold = (await held(shard, 2, ttl_ms=1)).hold
    await redis.delete(Keys().hold(hold.token))
    await asyncio.sleep(0.01)
    await shard.expire_due()
    assert await redis.zcard(Keys().deadlines) == 0
    assert await shard.expire_orphan(hold.token, None, [("A", 2)])
    assert await shard.orphans(10) == []
    await redis.delete(Keys().hold(hold.token))
    assert not await shard.expire_orphan(hold.token, None, [("A", 2)])
    assert await counts(shard) == (3, 0, 0)


async def test_lines_brought_for_a_hold_that_is_no_orphan_give_nothing_back(shard: Shard) -> None:
    await create(shard, "A", 3)
    hold = (await held(shard, 2)).hold
    assert not await shard.expire_orphan(hold.token, None, [("A", 2)])
    assert not await shard.expire_orphan("never-made", None, [("A", 2)])
    assert not await shard.adopt_orphan(hold.token)
    assert await counts(shard) == (1, 2, 0)


async def test_a_hold_before_its_deadline_is_not_expired_by_whoever_asks(shard: Shard) -> None:
    await create(shard, "A", 3)
    hold = (await held(shard, 2)).hold
    assert await shard._expire([Expiry((hold.token,), hold.token)]) == [0]
    assert await counts(shard) == (1, 2, 0)


async def test_acknowledging_more_than_there_is_lets_go_of_no_event_yet_to_come(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 3)
    assert await shard.acknowledge(1_000) == 0
    assert await redis.hget(Keys().meta, "flushed") == "1"
    await held(shard, 1)
    assert (await shard.backlog()).events == 1
    assert await shard.acknowledge(1) == 1
    assert await redis.xlen(Keys().events) == 1


async def test_the_units_of_an_expired_hold_count_no_longer_for_its_customer(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 10, limit=3)
    await held(shard, 3, customer="bob", ttl_ms=1)
    await asyncio.sleep(0.01)
    await shard.expire_due()
    assert await redis.hgetall(Keys().customers) == {}
    sold = await held(shard, 2, customer="bob")
    await shard.commit(sold.hold.token)
    assert await redis.hgetall(Keys().customers) == {"A|bob": "2"}


async def test_a_backlog_of_nothing_has_no_age(shard: Shard) -> None:
    await create(shard, "A", 3)
    await asyncio.sleep(0.03)
    before = await shard.backlog()
    assert (before.events, before.lag_s > 0.02) == (1, True)
    await shard.acknowledge(1)
    assert ((await shard.backlog()).events, (await shard.backlog()).lag_s) == (0, 0)


async def test_the_backlog_is_told_whatever_stands_first_in_the_log(shard: Shard, redis: Redis) -> None:
    await redis.xadd(Keys().events, {"junk": "x"}, id="1-1")
    await redis.hset(Keys().meta, "seq", "1")
    assert (await shard.backlog()).events == 1


async def test_the_last_page_of_skus_names_no_next_one(shard: Shard) -> None:
    for sku in ("A", "B"):
        await create(shard, sku, 1)
    assert (await shard.stock_page(None, 2)).next_after is None
    assert (await shard.stock_page(None, 1)).next_after == "A"
    assert (await shard.stock_page("Z", 2)).levels == []


async def test_with_memory_full_reserves_are_turned_away_and_holds_still_end(
    shard: Shard, redis: Redis, kind: str
) -> None:
    if kind == "fakeredis":
        pytest.skip("fakeredis has no memory to fill")
    await create(shard, "A", 10)
    sold, released, due = [(await held(shard, 1, ttl_ms=ttl_ms)).hold.token for ttl_ms in (60_000, 60_000, 1)]
    await asyncio.sleep(0.01)
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(Unavailable):
            await shard.reserve(claim(1))
        with pytest.raises(Unavailable):
            await shard.adjust(Adjust("more", "f", "A", 5, "received"))
        committed = await shard.commit(sold, Keyed("k", "f"))
        assert isinstance(committed, HoldAnswer) and committed.hold.status is HoldStatus.COMMITTED
        assert isinstance(await shard.release(released), HoldAnswer)
        assert await shard.expire_due() == 1
        assert await shard.acknowledge(2) > 0
    finally:
        await redis.config_set("maxmemory", "0")
    assert await counts(shard) == (9, 0, 1)
    late = await shard.commit(due)
    assert isinstance(late, Refused) and late.refusal is Refusal.HOLD_EXPIRED
