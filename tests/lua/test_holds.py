"""What the scripts of a hold's life answer and write, status by status, on fakeredis and on the real server."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from engine.holds import HoldAnswer, HoldStatus, Line, Reserve
from engine.idempotency import Keyed
from engine.keys import Keys
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.shard import Shard
from engine.stock import Adjust
from tests.lua.shop import counts, create, held, reserve

pytestmark = pytest.mark.anyio


async def test_reserve_moves_units_from_available_to_reserved(shard: Shard) -> None:
    await create(shard, "A", 5)
    answer = await held(shard, {"A": 2}, customer="bob")
    assert answer.hold.status is HoldStatus.HELD
    assert answer.hold.expires_ms - answer.hold.created_ms == 60_000
    assert await counts(shard, "A") == (3, 2, 0, 5)
    assert await shard.hold(answer.hold.token) == answer.hold


async def test_reserve_claims_all_lines_or_none_and_names_the_lines_that_failed(shard: Shard) -> None:
    await create(shard, "A", 5)
    await create(shard, "B", 1)
    answer = await shard.reserve(reserve({"A": 2, "B": 2}))
    assert answer == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("B", 2, 1),))
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_reserve_of_unknown_skus_among_known_ones_names_them_and_changes_nothing(shard: Shard) -> None:
    await create(shard, "A", 5)
    answer = await shard.reserve(reserve({"A": 2, "X": 1, "Y": 1}))
    assert answer == Refused(Refusal.UNKNOWN_SKU, skus=("X", "Y"))
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_ten_threads_five_units_exactly_five_succeed(shard: Shard) -> None:
    await create(shard, "A", 5)
    answers = await asyncio.gather(*(shard.reserve(reserve({"A": 1})) for _ in range(10)))
    assert sum(isinstance(answer, HoldAnswer) for answer in answers) == 5
    assert await counts(shard, "A") == (0, 5, 0, 5)


async def test_a_thousand_shoppers_a_hundred_units_exactly_a_hundred_succeed(shard: Shard) -> None:
    await create(shard, "A", 100)
    answers = await asyncio.gather(*(shard.reserve(reserve({"A": 1})) for _ in range(1_000)))
    assert sum(isinstance(answer, HoldAnswer) for answer in answers) == 100
    assert await counts(shard, "A") == (0, 100, 0, 100)


async def test_the_same_request_again_is_answered_the_same_and_makes_no_second_hold(shard: Shard) -> None:
    await create(shard, "A", 5)
    request = reserve({"A": 2}, token="once")
    answers = await asyncio.gather(*(shard.reserve(request) for _ in range(300)))
    assert {answer.hold for answer in answers if isinstance(answer, HoldAnswer)} == {answers[0].hold}  # type: ignore[union-attr]
    assert [answer.replayed for answer in answers if isinstance(answer, HoldAnswer)].count(False) == 1
    assert await counts(shard, "A") == (3, 2, 0, 5)


async def test_the_replay_of_a_reserve_is_its_first_answer_even_after_the_hold_went_on(shard: Shard) -> None:
    await create(shard, "A", 5)
    request = reserve({"A": 2}, token="once")
    first = await shard.reserve(request)
    assert isinstance(first, HoldAnswer)
    await shard.extend("once", 900)
    await shard.commit("once")
    again = await shard.reserve(request)
    assert isinstance(again, HoldAnswer)
    assert (again.hold, again.replayed) == (first.hold, True)


async def test_a_request_is_found_under_any_name_that_its_key_may_have_led_to(shard: Shard) -> None:
    await create(shard, "A", 5)
    first = await shard.reserve(reserve({"A": 2}, token="once-1"))
    later = Reserve("once-2", "f", None, 60_000, (Line("A", 2),), ("once-1", "once-3"))
    again = await shard.reserve(later)
    assert isinstance(first, HoldAnswer) and isinstance(again, HoldAnswer)
    assert (again.hold, again.replayed) == (first.hold, True)
    assert await counts(shard, "A") == (3, 2, 0, 5)


async def test_a_key_that_comes_again_with_another_payload_is_refused(shard: Shard) -> None:
    await create(shard, "A", 5)
    await shard.reserve(reserve({"A": 2}, token="once"))
    other = Reserve("once", "another fingerprint", None, 60_000, (Line("A", 1),))
    assert await shard.reserve(other) == Refused(Refusal.KEY_REUSED)
    assert await counts(shard, "A") == (3, 2, 0, 5)


async def test_a_refusal_is_not_remembered_its_retry_is_judged_afresh(shard: Shard) -> None:
    await create(shard, "A", 1)
    request = reserve({"A": 2}, token="once")
    assert isinstance(await shard.reserve(request), Refused)
    await shard.adjust(Adjust("more", "f", "A", 5, "received"))
    assert isinstance(await shard.reserve(request), HoldAnswer)


async def test_a_batch_of_holds_is_judged_one_by_one_and_remembered_as_a_whole(shard: Shard) -> None:
    await create(shard, "A", 2)
    group = [Reserve(f"t{i}", "f", None, 60_000, (Line("A", 1),), (), "group", i) for i in (1, 2, 3)]
    first = await shard.reserve_group(group)
    assert [isinstance(answer, HoldAnswer) for answer in first] == [True, True, False]
    await shard.adjust(Adjust("more", "f", "A", 5, "received"))
    again = await shard.reserve_group(group)
    assert [isinstance(answer, HoldAnswer) and answer.replayed for answer in again] == [True, True, False]
    assert again[2] == first[2]
    other = [Reserve(f"t{i}", "g", None, 60_000, (Line("A", 1),), (), "group", i) for i in (1, 2, 3)]
    assert await shard.reserve_group(other) == [Refused(Refusal.KEY_REUSED)] * 3
    assert await counts(shard, "A") == (5, 2, 0, 7)


async def test_a_customer_never_holds_and_owns_more_than_the_limit(shard: Shard) -> None:
    await create(shard, "A", 10, limit=3)
    first = await held(shard, {"A": 2}, customer="bob")
    over = await shard.reserve(reserve({"A": 2}, customer="bob"))
    assert over == Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 2, 3),))
    await held(shard, {"A": 3}, customer="eve")
    await shard.commit(first.hold.token)
    assert isinstance(await shard.reserve(reserve({"A": 2}, customer="bob")), Refused)
    last = await held(shard, {"A": 1}, customer="bob")
    await shard.release(last.hold.token)
    await held(shard, {"A": 1}, customer="bob")


async def test_a_guest_never_gets_more_than_the_limit_at_once(shard: Shard) -> None:
    await create(shard, "A", 10, limit=3)
    assert isinstance(await shard.reserve(reserve({"A": 4})), Refused)
    await held(shard, {"A": 3})


async def test_shoppers_who_race_with_themselves_stay_within_the_limit(shard: Shard) -> None:
    await create(shard, "A", 100, limit=3)
    answers = await asyncio.gather(*(shard.reserve(reserve({"A": 1}, customer="bob")) for _ in range(20)))
    assert sum(isinstance(answer, HoldAnswer) for answer in answers) == 3


async def test_commit_sells_the_units_once_and_answers_the_same_again(shard: Shard) -> None:
    await create(shard, "A", 5)
    hold = await held(shard, {"A": 2})
    answers = [await shard.commit(hold.hold.token) for _ in range(3)]
    assert all(isinstance(answer, HoldAnswer) and answer.hold.status is HoldStatus.COMMITTED for answer in answers)
    assert await counts(shard, "A") == (3, 0, 2, 5)


async def test_a_keyed_commit_is_replayed_and_its_key_is_for_nothing_else(shard: Shard) -> None:
    await create(shard, "A", 5)
    hold = await held(shard, {"A": 2})
    first = await shard.commit(hold.hold.token, Keyed("pay", "f"))
    again = await shard.commit(hold.hold.token, Keyed("pay", "f"))
    assert isinstance(first, HoldAnswer) and isinstance(again, HoldAnswer)
    assert (first.replayed, again.replayed) == (False, True)
    other = await held(shard, {"A": 1})
    assert await shard.commit(other.hold.token, Keyed("pay", "g")) == Refused(Refusal.KEY_REUSED)
    assert await counts(shard, "A") == (2, 1, 2, 5)


async def test_an_expired_hold_cannot_be_committed_even_before_it_is_swept(shard: Shard) -> None:
    await create(shard, "A", 5)
    hold = await held(shard, {"A": 2}, ttl_ms=1)
    await asyncio.sleep(0.01)
    for verb in (shard.commit(hold.hold.token), shard.release(hold.hold.token), shard.extend(hold.hold.token, 60)):
        assert await verb == Refused(Refusal.HOLD_EXPIRED)
    found = await shard.hold(hold.hold.token)
    assert found is not None
    assert found.status is HoldStatus.EXPIRED


async def test_what_is_due_counts_as_available_even_before_it_is_swept(shard: Shard) -> None:
    await create(shard, "A", 700)
    await asyncio.gather(*(shard.reserve(reserve({"A": 1}, ttl_ms=1)) for _ in range(600)))
    await asyncio.sleep(0.01)
    assert await counts(shard, "A") == (700, 0, 0, 700)


async def test_release_gives_back_once_and_the_hold_is_over(shard: Shard) -> None:
    await create(shard, "A", 5)
    hold = await held(shard, {"A": 2})
    for _ in range(2):
        answer = await shard.release(hold.hold.token)
        assert isinstance(answer, HoldAnswer)
        assert answer.hold.status is HoldStatus.RELEASED
    assert await counts(shard, "A") == (5, 0, 0, 5)
    for verb in (shard.commit(hold.hold.token), shard.extend(hold.hold.token, 60)):
        assert await verb == Refused(Refusal.HOLD_NOT_LIVE, hold_status="released")


async def test_commit_and_release_of_one_hold_at_once_settle_it_once(shard: Shard) -> None:
    await create(shard, "A", 100)
    holds = [await held(shard, {"A": 1}) for _ in range(50)]
    work = [verb(answer.hold.token) for answer in holds for verb in (shard.commit, shard.release)]
    answers = await asyncio.gather(*work)
    assert sum(isinstance(answer, HoldAnswer) for answer in answers) == 50
    available, reserved, sold, received = await counts(shard, "A")
    assert (reserved, received) == (0, 100)
    assert available + sold == 100


async def test_unknown_holds_are_named_as_such(shard: Shard) -> None:
    for verb in (shard.commit("nobody"), shard.release("nobody"), shard.extend("nobody", 60)):
        assert await verb == Refused(Refusal.UNKNOWN_HOLD)


async def test_extend_counts_from_now_never_shortens_and_ends_at_the_longest_life(shard: Shard) -> None:
    await create(shard, "A", 5)
    hold = (await held(shard, {"A": 1}, ttl_ms=60_000)).hold
    shorter = await shard.extend(hold.token, 1)
    assert isinstance(shorter, HoldAnswer)
    assert shorter.hold.expires_ms == hold.expires_ms
    longer = await shard.extend(hold.token, 600, Keyed("k", "f"))
    assert isinstance(longer, HoldAnswer)
    assert longer.hold.expires_ms >= hold.created_ms + 600_000
    longest = await shard.extend(hold.token, 86_400)
    assert isinstance(longest, HoldAnswer)
    assert longest.hold.expires_ms == hold.created_ms + 3_600_000
    first_again = await shard.extend(hold.token, 600, Keyed("k", "f"))
    assert isinstance(first_again, HoldAnswer)
    assert (first_again.hold, first_again.replayed) == (longer.hold, True)


async def test_an_extended_hold_is_not_expired_at_its_first_deadline(shard: Shard) -> None:
    await create(shard, "A", 5)
    hold = (await held(shard, {"A": 1}, ttl_ms=80)).hold
    await shard.extend(hold.token, 60)
    await asyncio.sleep(0.1)
    assert await shard.expire_due() == 0
    assert isinstance(await shard.commit(hold.token), HoldAnswer)


async def test_expire_gives_due_holds_back_once_and_leaves_the_others(shard: Shard) -> None:
    await create(shard, "A", 5)
    await held(shard, {"A": 2}, ttl_ms=1)
    await held(shard, {"A": 1})
    await asyncio.sleep(0.01)
    assert [await shard.expire_due(), await shard.expire_due()] == [1, 0]
    assert await counts(shard, "A") == (4, 1, 0, 5)


async def test_an_expired_hold_never_blocks_a_sale_even_when_nothing_sweeps(shard: Shard) -> None:
    await create(shard, "A", 700)
    await asyncio.gather(*(shard.reserve(reserve({"A": 1}, ttl_ms=1)) for _ in range(700)))
    await asyncio.sleep(0.01)
    await held(shard, {"A": 700})


async def test_an_expired_hold_never_blocks_a_limited_customer(shard: Shard) -> None:
    await create(shard, "A", 10, limit=2)
    await held(shard, {"A": 2}, customer="bob", ttl_ms=1)
    await asyncio.sleep(0.01)
    await held(shard, {"A": 2}, customer="bob")


async def test_a_hold_without_its_record_becomes_an_orphan_and_is_ended_by_what_is_known_elsewhere(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 5)
    hold = (await held(shard, {"A": 2}, ttl_ms=1)).hold
    await redis.delete(Keys().hold(hold.token))
    await asyncio.sleep(0.01)
    assert await shard.expire_due() == 0
    assert await shard.orphans(10) == [hold.token]
    assert await shard.expire_orphan(hold.token, None, [("A", 2)])
    assert not await shard.expire_orphan(hold.token, None, [("A", 2)])
    assert not await shard.expire_orphan("never-made", None, [("A", 2)])
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_live_holds_and_answers_have_a_time_to_live_beyond_their_use(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    hold = (await held(shard, {"A": 1})).hold
    live_ms = await redis.pttl(Keys().hold(hold.token))
    weeks_ms = 30 * 86_400_000
    assert weeks_ms + 86_400_000 + 50_000 < live_ms <= weeks_ms + 86_400_000 + 60_000
    await shard.commit(hold.token, Keyed("k", "f"))
    for key in (Keys().hold(hold.token), Keys().memory("k")):
        assert 86_390_000 < await redis.pttl(key) <= 86_400_000
