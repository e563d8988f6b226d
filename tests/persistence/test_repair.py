"""The repair: a Redis that lacks a tail of the log gets just that, and is then what a whole rebuild would have made."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from engine import repair as mending
from engine.errors import Unavailable
from engine.holds import HoldAnswer
from engine.idempotency import Keyed
from engine.orders import OrderStatus, PaymentStatus
from engine.settings import Settings
from engine.stock import Adjust
from jobs.trim import _trim
from persistence import fence as verification
from persistence import repair
from persistence.flush import drain_once
from persistence.rebuild import refill
from tests.bundles import deadlines_in
from tests.persistence.copies import Copy, fall_back
from tests.shop import CATALOGUE, fill_cart, move, pay, place_order, stock_up
from tests.system import System, reserve

pytestmark = pytest.mark.anyio


async def with_tail(system: System) -> Copy:
    """A Redis that came back without its last events, which PostgreSQL has."""
    await stock_up(system)
    await place_order(system, {"MUG": 1}, customer="bob", is_pending=True)
    copy = await Copy(system.settings.require_redis_url()).take()
    await system.hold("MUG", 2)
    await system.hold("MUG", 1)
    await fall_back(system, copy)
    return copy


async def test_what_is_asked_twice_is_answered_the_same_though_redis_lost_the_first_time(system: System) -> None:
    await system.create("A", 10)
    held = (await system.hold("A", 2)).hold
    copy = await Copy(system.settings.require_redis_url()).take()
    request = reserve("A", 3, token="derived")
    first = await system.shard.reserve(request)
    paid = await system.shard.commit(held.token, Keyed("pay", "f"), "order-7")
    await fall_back(system, copy)
    assert await system.verify() == "repaired"
    again = await system.shard.reserve(request)
    assert isinstance(first, HoldAnswer) and again == msgspec.structs.replace(first, replayed=True)
    paid_again = await system.shard.commit(held.token, Keyed("pay", "f"), "order-7")
    assert isinstance(paid, HoldAnswer) and paid_again == msgspec.structs.replace(paid, replayed=True)
    assert await system.counts("A") == (5, 3, 2)
    assert await system.raw.hget(system.keys.meta, "epoch") == "2"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM flush_steps",
        "UPDATE flush_steps SET after_seq = seq - 1",
        "UPDATE flush_steps SET seq = seq - 1",
        "UPDATE flush_steps SET since = since - interval '25 hours'",
        "INSERT INTO flush_quarantine VALUES (0, 1, 2, now(), 'adjust', '', '')",
    ],
)
async def test_where_postgresql_cannot_tell_what_a_tail_changed_the_shard_is_rebuilt(
    system: System, statement: str
) -> None:
    await with_tail(system)
    await system.pool.execute(statement)
    assert await system.verify() == "rebuilt"
    assert (await system.audit()).differences == []


async def test_a_tail_beyond_its_bound_is_not_worth_a_repair(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "MAX_TAIL_EVENTS", 2)
    await with_tail(system)
    assert await system.verify() == "repaired"
    copy = await Copy(system.settings.require_redis_url()).take()
    for _ in range(3):
        await system.hold("MUG")
    await fall_back(system, copy)
    assert await system.verify() == "rebuilt"


async def test_a_redis_that_is_not_what_it_was_at_its_place_in_the_log_is_rebuilt(system: System) -> None:
    async def other_counts() -> None:
        await system.raw.hset(system.keys.stock, "SHIRT-L", "[99,0,0,99,0]")

    async def another_sku() -> None:
        await system.raw.hset(system.keys.stock, "GHOST", "[1,0,0,1,0]")

    async def another_hold() -> None:
        await system.raw.zadd(system.keys.deadlines, {"ghost": 1})

    async def another_window() -> None:
        await system.raw.zadd(system.keys.payments, {"ghost": 1})

    copy = await with_tail(system)
    await system.verify()
    for change in (other_counts, another_sku, another_hold, another_window):
        await system.hold("MUG")
        copy = await Copy(system.settings.require_redis_url()).take()
        await system.hold("MUG")
        await fall_back(system, copy)
        await change()
        assert await system.verify() == "rebuilt", change.__name__
        assert (await system.audit()).is_clean
        rebuilt = await system.in_redis(msgspec.json.decode)
        assert not any("ghost" in str(value).lower() for value in rebuilt.values())


async def test_readiness_tells_that_a_repair_goes_on_and_nobody_reserves_meanwhile(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_tail(system)
    seen: list[Any] = []
    run = repair._Repair.run

    async def watched(self: Any) -> None:
        seen.append(system.fence.reason)
        seen.extend(await asyncio.gather(system.shard.reserve(reserve("MUG")), return_exceptions=True))
        seen.append(await system.raw.hget(system.keys.meta, "epoch"))
        await run(self)

    monkeypatch.setattr(repair._Repair, "run", watched)
    assert await system.verify() == "repaired"
    reason, refused, epoch = seen
    assert reason == "Redis lacks 2 events that PostgreSQL knows and is being repaired"
    assert isinstance(refused, Unavailable)
    assert epoch is None


async def test_readiness_tells_that_a_repair_became_a_rebuild(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_tail(system)
    await system.raw.hset(system.keys.stock, "SHIRT-L", "[99,0,0,99,0]")
    seen: list[str] = []

    async def watched(*arguments: Any) -> Any:
        seen.append(system.fence.reason)
        return await refill(*arguments)

    monkeypatch.setattr(repair, "refill", watched)
    assert await system.verify() == "rebuilt"
    assert seen == ["Redis is being rebuilt from PostgreSQL"]


async def test_a_repair_that_crashed_in_its_midst_is_followed_by_a_rebuild(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_tail(system)

    async def crashing(_: Any) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(repair._Repair, "memories", crashing)
        with pytest.raises(Unavailable):
            await system.verify()
    assert await system.raw.hget(system.keys.meta, "epoch") is None
    assert await system.verify() == "rebuilt"
    assert (await system.audit()).is_clean


async def test_a_verification_waits_for_a_drainer_that_may_have_read_what_redis_has_lost(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    copy = await Copy(settings.require_redis_url()).take()
    await system.hold("A", 4)
    async with system.pool.acquire() as connection, connection.transaction():
        drained = await drain_once(connection, system.raw, system.keys, 100)
        await copy.put_back()
        verifying = asyncio.create_task(system.verify())
        await asyncio.sleep(0.2)
        assert drained.events == 2 and not verifying.done()
    assert await verifying == "repaired"
    assert await system.counts("A") == (6, 4, 0)


async def test_a_hold_whose_record_evaporated_before_it_was_ended_comes_back_with_its_units(system: System) -> None:
    await system.create("A", 10)
    orphan = (await system.hold("A", 4, ttl_ms=1)).hold.token
    await system.raw.unlink(system.keys.hold(orphan))
    await asyncio.sleep(0.005)
    await system.shard.expire_due()
    assert await system.raw.smembers(system.keys.orphans) == {orphan}
    lost = (await system.hold("A", 4, ttl_ms=1)).hold.token
    await system.raw.unlink(system.keys.hold(lost))
    copy = await Copy(system.settings.require_redis_url()).take()
    await system.shard.adjust(Adjust("more", "f", "A", 1, "received"))
    await fall_back(system, copy)
    assert await system.verify() == "repaired"
    assert await system.raw.exists(system.keys.orphans) == 0
    assert await system.counts("A") == (11, 0, 0)


async def mend(system: System) -> repair.Mending:
    """Mend it whatever a verification would have made of it before."""
    async with system.pool.acquire() as connection:
        return await repair.mend_shard(connection, system.raw, system.keys, system.settings, lambda _: None)


async def test_a_redis_that_counted_events_which_its_log_does_not_have_is_rebuilt(system: System) -> None:
    await system.create("A", 10)
    await system.hold("A", 1)
    await system.flush()
    await system.hold("A", 4)
    await system.raw.delete(system.keys.events)
    assert await mend(system) == "rebuilt"
    await system.verify()
    assert await system.counts("A") == (9, 1, 0)
    assert (await system.audit()).is_clean


async def test_a_redis_of_no_epoch_is_rebuilt_though_nothing_else_is_missing(system: System) -> None:
    await system.create("A", 10)
    copy = await Copy(system.settings.require_redis_url()).take()
    await system.hold("A", 1)
    await fall_back(system, copy)
    await system.raw.hdel(system.keys.meta, "epoch")
    assert await mend(system) == "rebuilt"


async def test_events_of_an_earlier_epoch_that_were_set_aside_do_not_stand_in_the_way_of_a_repair(
    system: System,
) -> None:
    await system.create("A", 10)
    await system.flush()
    await verification.rebuild(system.settings, system.pool)
    await system.verify()
    await system.pool.execute("INSERT INTO flush_quarantine VALUES (0, 1, 2, now(), 'adjust', '', '')")
    await system.hold("A", 1)
    await system.flush()
    copy = await Copy(system.settings.require_redis_url()).take()
    await system.hold("A", 2)
    await fall_back(system, copy)
    assert await system.verify() == "repaired"
    assert await system.counts("A") == (7, 3, 0)


async def test_what_a_repair_puts_back_as_ended_outlives_its_bundle(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.settings = msgspec.structs.replace(system.settings, retention_s=60)
    monkeypatch.setattr(system.shard, "_settings", system.settings)
    await system.create("A", 10)
    sold = (await system.hold("A", 1, ttl_ms=600_000)).hold
    await system.flush()
    copy = await Copy(system.settings.require_redis_url()).take()
    await system.shard.commit(sold.token)
    await fall_back(system, copy)
    assert await system.verify() == "repaired"
    assert sold.token in await deadlines_in(system.raw, system.keys)
    assert 4_190_000 < await system.raw.pttl(system.keys.hold(sold.token)) <= 4_200_000


async def test_more_than_a_part_holds_is_repaired_part_by_part(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "PART", 1)
    monkeypatch.setattr(repair, "PART_ROWS", 1)
    await system.create("A", 30)
    tokens = [(await system.hold("A", 1)).hold.token for _ in range(12)]
    await test_a_tail_of_every_kind_of_change_is_repaired(system)
    assert set(tokens) <= (await deadlines_in(system.raw, system.keys)).keys()


async def test_a_tail_of_every_kind_of_change_is_repaired(system: System) -> None:
    await stock_up(system)
    live = [(await system.hold("LIMITED", 1, customer="kim", ttl_ms=60_000)).hold.token for _ in range(4)]
    back = await place_order(system, {"LIMITED": 2}, customer="bob", coupon="TEN")
    await move(system, back, OrderStatus.PROCESSING, OrderStatus.SHIPPED)
    failing, lasting = [
        await place_order(system, {"LIMITED": 1}, customer=name, coupon="TEN", is_pending=True)
        for name in ("eve", "dan")
    ]
    guest, own = await fill_cart(system, {"MUG": 1}), await fill_cart(system, {"MUG": 1}, customer="ann")
    await system.hold("LIMITED", 1, customer="ray", ttl_ms=20)
    await system.flush()
    copy = await Copy(system.settings.require_redis_url()).take()
    await asyncio.sleep(0.03)
    assert await system.shard.expire_due() == 1
    waiting = await place_order(system, {"MUG": 1}, customer="zoe", is_pending=True)
    await system.shard.extend(live[0], 600, Keyed("longer", "f"))
    await system.shard.commit(live[1], Keyed("pay", "f"), "till-7")
    await system.shard.release(live[2])
    await move(system, back, OrderStatus.RETURNED)
    await pay(system, failing, PaymentStatus.FAILED)
    await system.desk.merge(CATALOGUE, own, guest, "ann")
    await system.hold("LIMITED", 2, customer="joe")
    await fall_back(system, copy)
    assert await system.verify() == "repaired"
    repaired = await system.in_redis(msgspec.json.decode)
    await verification.rebuild(system.settings, system.pool)
    assert repaired == await system.in_redis(msgspec.json.decode)
    assert repaired[system.keys.customers] == {"LIMITED|kim": "3", "LIMITED|dan": "1", "LIMITED|joe": "2"}
    assert repaired[system.keys.coupons] == {"coup_ten": "2", "coup_ten|bob": "1", "coup_ten|dan": "1"}
    until_ms = {order.token: order.record.payment.until_ms for order in (lasting, waiting)}
    assert dict(repaired[system.keys.payments]) == until_ms


async def test_steps_are_remembered_for_as_long_as_a_tail_may_be_repaired_and_no_longer(
    system: System, settings: Settings
) -> None:
    for sku in ("A", "B", "C"):
        await system.create(sku, 10)
        await system.flush()
    await system.pool.execute(
        "UPDATE flush_steps SET at = at - make_interval(secs => $1 + CASE seq WHEN 1 THEN 60 ELSE -60 END)",
        repair.STEPS_KEPT_S,
    )
    await _trim(settings)
    assert [row["seq"] for row in await system.pool.fetch("SELECT seq FROM flush_steps ORDER BY seq")] == [2, 3]
