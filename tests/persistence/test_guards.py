"""Guards of the flush, the fence, the rebuild and the audit; each test fails when its guard is taken away."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from engine.connection import connect
from engine.errors import Unavailable
from engine.events import Entry, LogGap
from engine.fence import Fence
from engine.holds import HoldAnswer
from engine.idempotency import Keyed
from engine.keys import Keys
from engine.refusals import Refused
from engine.restore import Restorer
from engine.settings import Settings
from engine.stock import Adjust, StockAnswer
from jobs.reconcile import end_orphans
from jobs.resources import open_resources
from persistence import fence as verification
from persistence import flush, quarantine
from persistence.flush import Drained, Offset, drain_once, read_offset
from persistence.moments import ms_of
from persistence.pool import connect as connect_database
from persistence.rebuild import rebuild_shard
from tests.system import System, open_system, reserve

pytestmark = pytest.mark.anyio


async def forge(system: System, entry_id: str, **told: str) -> None:
    """An entry that no script wrote, and the log's end moved behind it."""
    fields: dict[Any, Any] = {**told}
    await system.raw.xadd(system.keys.events, fields, id=entry_id)
    await system.raw.hset(system.keys.meta, "seq", entry_id.split("-")[1])


async def levels(system: System) -> dict[str, tuple[int, int, int]]:
    rows = await system.pool.fetch("SELECT sku, available, reserved, sold FROM stock_levels")
    return {row["sku"]: (row["available"], row["reserved"], row["sold"]) for row in rows}


async def quarantined(system: System) -> list[tuple[int, str]]:
    return [(item.seq, item.reason) for item in await quarantine.waiting(system.pool)]


# The flush


async def test_a_drainer_that_was_stopped_in_its_transaction_is_passed_and_changes_nothing_when_it_wakes(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.create("A", 100)
    await asyncio.gather(*(system.hold("A") for _ in range(20)))
    asleep, wake = asyncio.Event(), asyncio.Event()
    apply = flush._apply_entries

    async def stopped(connection: Any, shard: int, entries: list[Entry]) -> int:
        asleep.set()
        await wake.wait()
        return await apply(connection, shard, entries)

    async def zombie() -> Drained:
        pool = await connect_database(settings.require_database_url(), 1)
        try:
            async with pool.acquire() as connection:
                await connection.execute("SET idle_in_transaction_session_timeout = 400")
                return await drain_once(connection, system.raw, system.keys, 1_000)
        finally:
            pool.terminate()

    monkeypatch.setattr(flush, "_apply_entries", stopped)
    sleeping = asyncio.create_task(zombie())
    await asleep.wait()
    monkeypatch.setattr(flush, "_apply_entries", apply)
    other = asyncio.create_task(system.flush())
    await asyncio.sleep(0.1)
    assert not other.done()
    assert await other == 21
    wake.set()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await sleeping
    assert (await system.audit()).is_clean
    assert await system.pool.fetchval("SELECT count(*) FROM stock_ledger") == 21


async def test_one_transaction_takes_no_more_events_than_it_is_asked_to_however_long_the_log_is(system: System) -> None:
    await system.create("A", 1_000)
    for _ in range(flush.MAX_ENTRIES_PER_READ + 10):
        await system.hold("A")
    async with system.pool.acquire() as connection:
        assert (await drain_once(connection, system.raw, system.keys, 20)).events == 20
        longest = flush.MAX_ENTRIES_PER_READ + 5
        assert (await drain_once(connection, system.raw, system.keys, longest - 20)).offset.seq == longest


async def test_an_entry_of_another_epoch_stops_the_flush(system: System) -> None:
    await system.create("A", 10)
    await forge(system, "2-2", kind="adjust", at="1000", n="1", events='[["A",1,"","",0,0]]')
    with pytest.raises(LogGap, match="expected event 1-2, found 2-2"):
        await system.flush()
    assert await levels(system) == {}


async def test_an_entry_that_is_no_text_is_set_aside_and_the_flush_goes_on(system: System) -> None:
    await system.create("A", 10)
    fields: dict[Any, Any] = {"kind": "adjust", "at": "1000", "n": "1", "events": b'[["A\xff",1,"","",0,0]]'}
    await system.raw.xadd(system.keys.events, fields, id="1-2")
    await system.raw.hset(system.keys.meta, "seq", "2")
    await system.hold("A", 3)
    assert await system.flush() == 3
    assert await levels(system) == {"A": (7, 3, 0)}
    assert [seq for seq, _ in await quarantined(system)] == [2]


async def test_an_empty_log_lets_go_of_nothing_that_comes_later(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.flush()
    assert await system.raw.hget(system.keys.meta, "flushed") == "1"
    await system.hold("A")
    assert await system.flush() == 1


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        ("release", '[["nobody",[["A",5]]]]'),
        ("adjust", '[["A",-11,"","",0,0]]'),
        ("adjust", '[["NEVER",1,"","",0,0]]'),
        ("adjust", '[["A",1e18,"","",0,0]]'),
        ("adjust", '[["A",99999999999999999999999,"","",0,0]]'),
        ("adjust", '[["A",1,"\\u0000","",0,0]]'),
        ("extend", '[["nobody",99000]]'),
        ("extend", '[["nobody",999999999999999999]]'),
        ("reserve", '[["t","",1000,2000,"f",[["A",0]]]]'),
        ("return", '[["ord_t","canceled","",[["A",1]]]]'),
        ("return", '[["ord_t","canceled","",[["NEVER",1]]]]'),
        ("cart", '[["t",[1]]]'),
        ("cart", '[["t",[0,"open","","",1000,2000]]]'),
        ("order", '[["t",[1]]]'),
        ("trade", '[["order",["t",[1]]]]'),
        ("refund", '[["t"]]'),
        ("refund\x00", '[["t"]]'),
    ],
)
async def test_what_cannot_be_applied_is_set_aside_alone_with_a_reason(system: System, kind: str, events: str) -> None:
    await system.create("A", 10)
    await forge(system, "1-2", kind=kind, at="1000", n="1", events=events)
    await system.hold("A", 3)
    assert await system.flush() == 3
    ((seq, reason),) = await quarantined(system)
    assert seq == 2
    assert reason
    assert await levels(system) == {"A": (7, 3, 0)}
    assert not (await system.audit()).is_clean


async def test_a_time_beyond_all_calendars_does_not_stop_the_flush(system: System) -> None:
    await system.create("A", 10)
    await forge(system, "1-2", kind="adjust", at="9" * 20, n="1", events='[["A",1,"","",0,0]]')
    await system.hold("A", 3)
    assert await system.flush() == 3
    assert [seq for seq, _ in await quarantined(system)] == [2]


async def test_what_was_replayed_does_not_wait_again_when_its_event_is_seen_again(system: System) -> None:
    await system.create("A", 10)
    await forge(system, "1-2", kind="adjust", at="1000", n="1", events='[["A","many","","",0,0]]')
    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 100)
        await quarantine.replay(system.pool, 0, 1, 2, payload='["A", 0, "mended", "", 0, 0]')
        await connection.execute("UPDATE flush_offsets SET seq = 0")
        await drain_once(connection, system.raw, system.keys, 100)
    assert await quarantined(system) == []


@pytest.mark.parametrize(("kind", "payload"), [("extend", '["{}", 99000]'), ("release", '["{}", []]')])
async def test_an_event_that_is_replayed_late_does_not_touch_a_hold_that_ended(
    system: System, kind: str, payload: str
) -> None:
    await system.create("A", 10)
    hold = (await system.hold("A")).hold
    await system.shard.commit(hold.token)
    await system.flush()
    before = await system.pool.fetchrow("SELECT * FROM holds")
    await system.pool.execute(
        "INSERT INTO flush_quarantine (shard, epoch, seq, happened_at, kind, payload, reason)"
        " VALUES (0, 1, 99, now(), $1, $2, 'held back')",
        kind,
        payload.format(hold.token),
    )
    assert await quarantine.replay(system.pool, 0, 1, 99) == quarantine.Replay(1, None)
    assert await system.pool.fetchrow("SELECT * FROM holds") == before


async def test_a_hold_made_extended_and_sold_within_one_flush_is_written_as_it_ended(system: System) -> None:
    await system.create("A", 10)
    hold = (await system.hold("A", 2, customer="bob")).hold
    extended = await system.shard.extend(hold.token, 900)
    assert isinstance(extended, HoldAnswer)
    await system.shard.commit(hold.token, Keyed("k", "f"), "order-7")
    other = (await system.hold("A", 1)).hold
    await system.shard.commit(other.token)
    await system.flush()
    rows = {row["id"]: row for row in await system.pool.fetch("SELECT * FROM holds")}
    row = rows[hold.id]
    assert (row["status"], row["customer_id"], row["reference"]) == ("committed", "bob", "order-7")
    assert ms_of(row["expires_at"]) == extended.hold.expires_ms
    assert rows[other.id]["reference"] is None
    references = await system.pool.fetch("SELECT reference FROM stock_ledger WHERE kind = 'commit' ORDER BY seq")
    assert [reference for (reference,) in references] == ["order-7", other.id]


async def test_events_seen_again_after_holds_ended_change_nothing(system: System) -> None:
    await system.create("A", 10)
    made = [(await system.hold("A")).hold.token for _ in range(3)]
    await system.shard.commit(made[0], Keyed("k", "f"))
    await system.shard.release(made[1])
    await system.shard.extend(made[2], 900)
    tables = ("stock_levels", "stock_ledger", "holds", "hold_lines", "operation_memories", "flush_quarantine")

    async def everything() -> list[Any]:
        return [await system.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in tables]  # noqa: S608

    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 1_000)
        before = await everything()
        await connection.execute("UPDATE flush_offsets SET seq = 0")
        await drain_once(connection, system.raw, system.keys, 1_000)
    assert await everything() == before


# The fence


async def test_several_processes_that_find_redis_empty_rebuild_it_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(*arguments: Any) -> Any:
        await asyncio.sleep(0.2)
        return await rebuild_shard(*arguments)

    monkeypatch.setattr("persistence.fence.rebuild_shard", slowly)
    await system.create("A", 10)
    await system.flush()
    await system.raw.flushall()
    fences = [Fence() for _ in range(3)]
    pools = [await connect_database(system.settings.require_database_url(), 2) for _ in fences]
    verdicts = await asyncio.gather(
        *(verification.verify(system.settings, pool, fence) for pool, fence in zip(pools, fences, strict=True))
    )
    for pool in pools:
        pool.terminate()
    assert sorted(verdicts) == ["rebuilt", "verified", "verified"]
    assert {fence.epoch for fence in fences} == {2}


async def test_a_redis_of_an_older_epoch_is_rebuilt_however_long_its_log_is(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("UPDATE flush_offsets SET epoch = 3, seq = 0")
    assert await system.verify() == "rebuilt"
    assert system.fence.epoch == 4
    assert await system.counts("A") == (10, 0, 0)


async def test_a_redis_of_a_later_epoch_than_postgresql_is_left_to_an_operator(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.meta, "epoch", "5")
    with pytest.raises(Unavailable, match="restored from a backup"):
        await system.verify()
    assert await system.raw.hget(system.keys.meta, "epoch") == "5"
    rebuilt = await verification.rebuild(system.settings, system.pool)
    assert rebuilt.epoch == 6


async def test_a_rebuild_leaves_a_redis_of_another_installation_as_it_is(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.meta, "installation", "another")
    with pytest.raises(Unavailable, match="belongs to another database"):
        await verification.rebuild(system.settings, system.pool)
    assert await system.raw.hget(system.keys.meta, "epoch") == "1"
    assert await system.counts("A") == (10, 0, 0)


async def test_readiness_tells_that_a_rebuild_goes_on(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.flushall()
    system.fence.close("emptied")
    seen: list[str] = []

    async def watched(*arguments: Any) -> Any:
        seen.append(system.fence.reason)
        return await rebuild_shard(*arguments)

    monkeypatch.setattr(verification, "rebuild_shard", watched)
    assert await system.verify() == "rebuilt"
    assert seen == ["Redis is being rebuilt from PostgreSQL"]


async def test_a_redis_that_was_replaced_while_it_was_verified_is_not_trusted(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = iter(["before", "after"])

    async def changing(_: Redis) -> str:
        return next(run_ids)

    monkeypatch.setattr(verification, "_run_id", changing)
    system.fence.close("test")
    with pytest.raises(Unavailable, match="changed while it was being verified"):
        await system.verify()
    assert not system.fence.is_open


async def test_an_empty_database_does_not_adopt_a_redis_whose_events_were_flushed_elsewhere(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("DELETE FROM flush_offsets")
    with pytest.raises(Unavailable, match="flushed elsewhere"):
        await system.verify()
    assert await system.pool.fetchval("SELECT count(*) FROM flush_offsets") == 0


async def test_an_empty_database_does_not_begin_on_a_redis_that_holds_stock_without_its_record(system: System) -> None:
    await system.create("A", 10)
    await system.raw.delete(system.keys.meta)
    await system.pool.execute("DELETE FROM flush_offsets")
    with pytest.raises(Unavailable, match="without its record"):
        await system.verify()
    assert not await system.raw.exists(system.keys.meta)


async def test_an_empty_database_goes_on_with_a_redis_of_which_nothing_was_flushed(system: System) -> None:
    await system.create("A", 10)
    await system.pool.execute("DELETE FROM flush_offsets")
    assert await system.verify() == "verified"
    await system.flush()
    assert (await system.audit()).is_clean


async def test_a_connection_to_a_server_process_that_nobody_verified_carries_no_command(
    system: System, settings: Settings
) -> None:
    fence = Fence()
    fence.open("another run", 1)
    client = connect(settings, fence)
    with pytest.raises(Exception, match="restarted or was replaced"):
        await client.set("written", "1")
    await client.aclose()
    assert not fence.is_open
    assert not await system.raw.exists("written")


# The rebuild


async def test_while_redis_is_rebuilt_nobody_reserves(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.create("A", 10)
    await system.flush()
    answers: list[Any] = []

    async with open_system(settings) as other:
        wipe = Restorer.wipe

        async def reserving(self: Restorer) -> None:
            answers.extend(await asyncio.gather(other.shard.reserve(reserve("A")), return_exceptions=True))
            await wipe(self)

        monkeypatch.setattr(Restorer, "wipe", reserving)
        await verification.rebuild(settings, system.pool)
        assert [type(answer) for answer in answers] == [Unavailable]
        await other.verify()
        assert await other.counts("A") == (10, 0, 0)


async def test_a_rebuild_leaves_nothing_of_what_was_there_before(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.stock, "GHOST", "[1,0,0,1,0]")
    await system.raw.set(system.keys.hold("ghost"), "x")
    await system.raw.set("not-ours", "stays")
    await verification.rebuild(system.settings, system.pool)
    assert await system.raw.hkeys(system.keys.stock) == ["A"]
    assert not await system.raw.exists(system.keys.hold("ghost"))
    assert await system.raw.get("not-ours") == "stays"


async def test_what_a_rebuild_puts_back_is_kept_no_longer_and_no_shorter_than_before(system: System) -> None:
    await system.create("A", 10, customer_limit=5)
    live, sold = (await system.hold("A", 2, customer="bob")).hold, (await system.hold("A", 1, customer="bob")).hold
    due = (await system.hold("A", 1, ttl_ms=1)).hold
    await system.shard.commit(sold.token, Keyed("pay", "f"))
    await system.flush()
    # As if all of it had happened twenty hours ago.
    await system.pool.execute("UPDATE holds SET settled_at = settled_at - interval '20 hours'")
    await system.pool.execute("UPDATE holds SET expires_at = expires_at - interval '2 days' WHERE id = $1", due.id)
    await system.pool.execute("UPDATE operation_memories SET at = at - interval '20 hours'")
    await system.raw.flushall()
    await system.verify()

    async def kept_hours(key: str) -> float:
        return float(await system.raw.pttl(key)) / 3_600_000

    month = 30 * 24
    assert month + 24.0 < await kept_hours(system.keys.hold(live.token)) < month + 24.1
    assert 3.9 < await kept_hours(system.keys.hold(sold.token)) <= 4.0
    assert 3.9 < await kept_hours(system.keys.memory("pay")) <= 4.0
    assert month - 24.1 < await kept_hours(system.keys.hold(due.token)) <= month - 24.0
    assert set(await system.raw.zrange(system.keys.deadlines, 0, -1)) == {live.token, due.token}
    assert await system.raw.hgetall(system.keys.customers) == {"A|bob": "3"}


async def test_what_ended_longer_ago_than_the_retention_is_not_put_back(system: System) -> None:
    await system.create("A", 10)
    sold = (await system.hold("A", 1)).hold
    await system.shard.commit(sold.token, Keyed("pay", "f"))
    await system.flush()
    await system.pool.execute("UPDATE holds SET settled_at = settled_at - interval '25 hours'")
    await system.pool.execute("UPDATE operation_memories SET at = at - interval '25 hours'")
    await system.raw.flushall()
    await system.verify()
    assert not await system.raw.exists(system.keys.hold(sold.token), system.keys.memory("pay"))


async def test_a_drainer_that_slept_through_a_rebuild_applies_nothing_of_the_old_log(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    await system.flush()
    async with open_system(settings) as late:
        await system.hold("A", 3)
        await verification.rebuild(settings, system.pool)
        async with late.pool.acquire() as connection:
            drained = await drain_once(connection, late.raw, late.keys, 100)
            assert drained == Drained(Offset(2, 0), 0, 0)
            with pytest.raises(Unavailable):
                await late.shard.acknowledge(1)
            assert await read_offset(connection, 0) == Offset(2, 0)
    await system.verify()
    assert await system.counts("A") == (7, 3, 0)
    assert (await system.audit()).is_clean


# The audit, and the mending of orphans


async def test_counts_that_agree_with_each_other_but_not_with_the_holds_are_found(system: System) -> None:
    await system.create("A", 10)
    hold = (await system.hold("A", 2)).hold
    await system.flush()
    await system.pool.execute("UPDATE holds SET status = 'released', settled_at = now() WHERE id = $1", hold.id)
    (difference,) = (await system.audit()).differences
    assert difference.between == "reserved units and live holds in PostgreSQL"


async def test_counts_that_agree_with_redis_but_not_with_the_ledger_are_found(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("UPDATE stock_ledger SET delta_available = 9")
    (difference,) = (await system.audit()).differences
    assert difference.between == "PostgreSQL's counts and its ledger"


async def test_orphans_are_left_alone_while_events_are_set_aside(system: System, settings: Settings) -> None:
    """One of those events may be the end of that very hold."""
    await system.create("A", 10)
    hold = (await system.hold("A", 4, ttl_ms=1)).hold
    await forge(system, "1-3", kind="adjust", at="1000", n="1", events='[["A","many","","",0,0]]')
    await system.flush()
    await system.raw.delete(system.keys.hold(hold.token))
    await asyncio.sleep(0.01)
    await system.shard.expire_due()
    await system.flush()
    async with open_resources(settings) as resources:
        assert await end_orphans(resources, 1) == (0, 0)
        await quarantine.replay(system.pool, 0, 1, 3, payload='["A", 0, "mended", "", 0, 0]')
        assert await end_orphans(resources, 1) == (1, 0)


async def test_an_orphan_that_postgresql_knows_as_ended_is_reported_not_given_back(
    system: System, settings: Settings
) -> None:
    await system.create("A", 10)
    hold = (await system.hold("A", 4)).hold
    await system.shard.commit(hold.token)
    await system.flush()
    await system.raw.delete(system.keys.hold(hold.token))
    await system.raw.sadd(system.keys.orphans, hold.token)
    async with open_resources(settings) as resources:
        assert await end_orphans(resources, 1) == (0, 1)
    assert await system.counts("A") == (6, 0, 4)


async def test_orphans_are_not_judged_before_the_flush_caught_up(system: System, settings: Settings) -> None:
    await system.create("A", 10)
    async with open_resources(settings) as resources:
        with pytest.raises(Unavailable, match="did not reach event"):
            await end_orphans(resources, 0.05)


async def test_a_sku_that_only_one_side_has_is_found(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.stock, "GHOST", "[1,0,0,1,0]")
    assert [difference.sku for difference in (await system.audit()).differences] == ["GHOST"]
    await system.raw.hdel(system.keys.stock, "GHOST", "A")
    assert [difference.sku for difference in (await system.audit()).differences] == ["A"]


async def test_an_adjustment_is_remembered_with_the_fingerprint_that_it_had(system: System) -> None:
    await system.create("A", 10)
    await system.shard.adjust(Adjust("in", "f", "A", 7, "received"))
    await system.flush()
    await system.raw.delete(Keys().memory("in"))
    await verification.rebuild(system.settings, system.pool)
    await system.verify()
    again = await system.shard.adjust(Adjust("in", "f", "A", 7, "received"))
    other = await system.shard.adjust(Adjust("in", "g", "A", 8, "received"))
    assert isinstance(again, StockAnswer) and again.replayed
    assert isinstance(other, Refused)
