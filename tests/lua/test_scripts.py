"""What each script answers and writes, status by status, on fakeredis and on the real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.holds import HoldAnswer, HoldStatus, Line, Reserve
from engine.idempotency import Keyed, fresh_token
from engine.keys import Keys
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.restore import Restorer
from engine.shard import Shard
from engine.stock import Adjust, StockAnswer

pytestmark = pytest.mark.anyio


async def create(shard: Shard, sku: str, on_hand: int, limit: int | None = None) -> None:
    request = Adjust(fresh_token(), "", sku, on_hand, "created", create=True, customer_limit=limit)
    assert isinstance(await shard.adjust(request), StockAnswer)


def claim(
    lines: dict[str, int], token: str | None = None, customer: str | None = None, ttl_ms: int = 60_000
) -> Reserve:
    wanted = tuple(Line(sku, quantity) for sku, quantity in lines.items())
    return Reserve(token or fresh_token(), "f", customer, ttl_ms, wanted)


async def held(shard: Shard, lines: dict[str, int], **options: Any) -> HoldAnswer:
    answer = await shard.reserve(claim(lines, **options))
    assert isinstance(answer, HoldAnswer), answer
    return answer


async def counts(shard: Shard, sku: str) -> tuple[int, int, int, int]:
    level = await shard.stock(sku)
    assert level is not None
    return level.available, level.reserved, level.sold, level.received


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
    answer = await shard.reserve(claim({"A": 2, "B": 2}))
    assert answer == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("B", 2, 1),))
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_reserve_of_unknown_skus_among_known_ones_names_them_and_changes_nothing(shard: Shard) -> None:
    await create(shard, "A", 5)
    answer = await shard.reserve(claim({"A": 2, "X": 1, "Y": 1}))
    assert answer == Refused(Refusal.UNKNOWN_SKU, skus=("X", "Y"))
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_ten_threads_five_units_exactly_five_succeed(shard: Shard) -> None:
    await create(shard, "A", 5)
    answers = await asyncio.gather(*(shard.reserve(claim({"A": 1})) for _ in range(10)))
    assert sum(isinstance(answer, HoldAnswer) for answer in answers) == 5
    assert await counts(shard, "A") == (0, 5, 0, 5)


async def test_a_thousand_shoppers_a_hundred_units_exactly_a_hundred_succeed(shard: Shard) -> None:
    await create(shard, "A", 100)
    answers = await asyncio.gather(*(shard.reserve(claim({"A": 1})) for _ in range(1_000)))
    assert sum(isinstance(answer, HoldAnswer) for answer in answers) == 100
    assert await counts(shard, "A") == (0, 100, 0, 100)


async def test_the_same_request_again_is_answered_the_same_and_makes_no_second_hold(shard: Shard) -> None:
    await create(shard, "A", 5)
    request = claim({"A": 2}, token="once")
    answers = await asyncio.gather(*(shard.reserve(request) for _ in range(300)))
    assert {answer.hold for answer in answers if isinstance(answer, HoldAnswer)} == {answers[0].hold}  # type: ignore[union-attr]
    assert [answer.replayed for answer in answers if isinstance(answer, HoldAnswer)].count(False) == 1
    assert await counts(shard, "A") == (3, 2, 0, 5)


async def test_the_replay_of_a_reserve_is_its_first_answer_even_after_the_hold_went_on(shard: Shard) -> None:
    await create(shard, "A", 5)
    request = claim({"A": 2}, token="once")
    first = await shard.reserve(request)
    assert isinstance(first, HoldAnswer)
    await shard.extend("once", 900)
    await shard.commit("once")
    again = await shard.reserve(request)
    assert isinstance(again, HoldAnswer)
    assert (again.hold, again.replayed) == (first.hold, True)


async def test_a_request_is_found_under_any_name_that_its_key_may_have_led_to(shard: Shard) -> None:
    await create(shard, "A", 5)
    first = await shard.reserve(claim({"A": 2}, token="once-1"))
    later = Reserve("once-2", "f", None, 60_000, (Line("A", 2),), ("once-1", "once-3"))
    again = await shard.reserve(later)
    assert isinstance(first, HoldAnswer) and isinstance(again, HoldAnswer)
    assert (again.hold, again.replayed) == (first.hold, True)
    assert await counts(shard, "A") == (3, 2, 0, 5)


async def test_a_key_that_comes_again_with_another_payload_is_refused(shard: Shard) -> None:
    await create(shard, "A", 5)
    await shard.reserve(claim({"A": 2}, token="once"))
    other = Reserve("once", "another fingerprint", None, 60_000, (Line("A", 1),))
    assert await shard.reserve(other) == Refused(Refusal.KEY_REUSED)
    assert await counts(shard, "A") == (3, 2, 0, 5)


async def test_a_refusal_is_not_remembered_its_retry_is_judged_afresh(shard: Shard) -> None:
    await create(shard, "A", 1)
    request = claim({"A": 2}, token="once")
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
    over = await shard.reserve(claim({"A": 2}, customer="bob"))
    assert over == Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 2, 3),))
    await held(shard, {"A": 3}, customer="eve")
    await shard.commit(first.hold.token)
    assert isinstance(await shard.reserve(claim({"A": 2}, customer="bob")), Refused)
    last = await held(shard, {"A": 1}, customer="bob")
    await shard.release(last.hold.token)
    await held(shard, {"A": 1}, customer="bob")


async def test_a_guest_never_gets_more_than_the_limit_at_once(shard: Shard) -> None:
    await create(shard, "A", 10, limit=3)
    assert isinstance(await shard.reserve(claim({"A": 4})), Refused)
    await held(shard, {"A": 3})


async def test_shoppers_who_race_with_themselves_stay_within_the_limit(shard: Shard) -> None:
    await create(shard, "A", 100, limit=3)
    answers = await asyncio.gather(*(shard.reserve(claim({"A": 1}, customer="bob")) for _ in range(20)))
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
    await asyncio.gather(*(shard.reserve(claim({"A": 1}, ttl_ms=1)) for _ in range(600)))
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
    await asyncio.gather(*(shard.reserve(claim({"A": 1}, ttl_ms=1)) for _ in range(700)))
    await asyncio.sleep(0.01)
    await held(shard, {"A": 700})


async def test_an_expired_hold_never_blocks_a_limited_customer(shard: Shard) -> None:
    await create(shard, "A", 10, limit=2)
    await held(shard, {"A": 2}, customer="bob", ttl_ms=1)
    await asyncio.sleep(0.01)
    await held(shard, {"A": 2}, customer="bob")


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


async def test_events_are_numbered_without_gaps_whatever_their_batches(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 1_000)
    await asyncio.gather(*(shard.reserve(claim({"A": 1})) for _ in range(200)))
    entries: Any = await redis.xrange(Keys().events)
    last = 0
    for entry_id, fields in entries:
        epoch, seq = entry_id.split("-")
        assert epoch == "1"
        assert int(seq) == last + int(fields["n"])
        last = int(seq)
    assert last == 201
    assert len(entries) < 201


async def test_past_the_high_water_mark_reserves_are_refused_and_commits_still_finish(shard: Shard) -> None:
    await create(shard, "A", 5_000)
    answers = await asyncio.gather(*(shard.reserve(claim({"A": 1})) for _ in range(2_500)), return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, HoldAnswer)]
    assert len(made) == 1_999
    assert all(isinstance(answer, HoldAnswer | Unavailable) for answer in answers)
    assert isinstance(await shard.commit(made[0].hold.token), HoldAnswer)
    assert isinstance(await shard.release(made[1].hold.token), HoldAnswer)
    await shard.acknowledge(500)
    assert isinstance(await shard.reserve(claim({"A": 1})), HoldAnswer)


async def test_a_batch_that_would_pass_the_high_water_mark_makes_no_hold_at_all(shard: Shard) -> None:
    await create(shard, "A", 5_000)
    await asyncio.gather(*(shard.reserve(claim({"A": 1})) for _ in range(1_998)))
    group = [Reserve(f"t{i}", "f", None, 60_000, (Line("A", 1),), (), "group", i) for i in (1, 2, 3)]
    with pytest.raises(Unavailable):
        await shard.reserve_group(group)
    assert await counts(shard, "A") == (3_002, 1_998, 0, 5_000)
    await shard.acknowledge(1_000)
    answers = await shard.reserve_group(group)
    assert [isinstance(answer, HoldAnswer) and not answer.replayed for answer in answers] == [True] * 3


async def test_a_batch_without_a_key_keeps_the_holds_that_were_made_below_the_high_water_mark(shard: Shard) -> None:
    await create(shard, "A", 5_000)
    await asyncio.gather(*(shard.reserve(claim({"A": 1})) for _ in range(1_998)))
    answers = await shard.reserve_group([claim({"A": 1}) for _ in range(3)])
    assert [isinstance(answer, HoldAnswer) for answer in answers] == [True, False, False]
    assert isinstance(answers[2], Unavailable)


async def test_acknowledging_lets_go_of_exactly_what_was_applied_and_never_goes_back(
    shard: Shard, redis: Redis
) -> None:
    await create(shard, "A", 50)
    for _ in range(4):
        await held(shard, {"A": 1})
    assert await shard.acknowledge(3) == 2
    assert await shard.acknowledge(2) == 2
    entries: Any = await redis.xrange(Keys().events)
    assert [entry_id for entry_id, _ in entries] == ["1-4", "1-5"]


async def test_scripts_that_the_server_forgot_are_loaded_again_by_themselves(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await redis.script_flush()
    await held(shard, {"A": 1})


async def test_a_caller_of_another_epoch_changes_nothing(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await Restorer(redis, Keys()).open(2, "test")
    with pytest.raises(Unavailable):
        await shard.reserve(claim({"A": 1}))
    assert not shard.fence.is_open
    with pytest.raises(Unavailable):
        await shard.stock("A")
    shard.fence.open("this server", 2)
    assert await counts(shard, "A") == (5, 0, 0, 5)


async def test_an_emptied_redis_answers_that_it_cannot_tell_not_that_nothing_exists(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await redis.flushall()
    with pytest.raises(Unavailable):
        await shard.stock("A")


async def test_a_repeated_sequence_is_refused_before_anything_changed(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    await redis.hset(Keys().meta, "seq", "0")
    with pytest.raises(Exception, match="equal or smaller"):
        await shard.reserve(claim({"A": 1}, token="once"))
    assert await counts(shard, "A") == (5, 0, 0, 5)
    assert await shard.hold("once") is None


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


async def test_skus_are_listed_in_order_page_by_page(shard: Shard) -> None:
    for sku in ("b", "A", "c.1", "a"):
        await create(shard, sku, 1)
    first = await shard.stock_page(None, 3)
    assert [level.sku for level in first.levels] == ["A", "a", "b"]
    rest = await shard.stock_page(first.next_after, 3)
    assert [level.sku for level in rest.levels] == ["c.1"]
    assert rest.next_after is None


async def test_live_holds_and_answers_have_a_time_to_live_beyond_their_use(shard: Shard, redis: Redis) -> None:
    await create(shard, "A", 5)
    hold = (await held(shard, {"A": 1})).hold
    live_ms = await redis.pttl(Keys().hold(hold.token))
    weeks_ms = 30 * 86_400_000
    assert weeks_ms + 86_400_000 + 50_000 < live_ms <= weeks_ms + 86_400_000 + 60_000
    await shard.commit(hold.token, Keyed("k", "f"))
    for key in (Keys().hold(hold.token), Keys().memory("k")):
        assert 86_390_000 < await redis.pttl(key) <= 86_400_000
