"""Guards of the flush and of what it sets aside; each test fails when its guard is taken away."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from engine.events import Entry, LogGap
from engine.holds import HoldAnswer
from engine.idempotency import Keyed
from engine.settings import Settings
from persistence import flush, quarantine
from persistence.flush import Drained, drain_once
from persistence.pool import connect as connect_database
from tests.persistence.forging import forge
from tests.system import System

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_each_way")]


async def levels(system: System) -> dict[str, tuple[int, int, int]]:
    rows = await system.pool.fetch("SELECT sku, available, reserved, sold FROM stock_levels")
    return {row["sku"]: (row["available"], row["reserved"], row["sold"]) for row in rows}


async def quarantined(system: System) -> list[tuple[int, str]]:
    return [(item.seq, item.reason) for item in await quarantine.waiting(system.pool)]


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
    assert await levels(system) == {"A": (10, 0, 0)}


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
        ("reserve", '[["t","",1000,2000,"f",[["A",-1]]]]'),
        ("reserve", '[["t","",1000,2000,"f",[["A",2147483648]]]]'),
        ("reserve", '[["t","",1000,2000,"f",[["\\u0000",1]]]]'),
        ("reserve", '[["t","",1000,2000,"f\\u0000",[["A",1]]]]'),
        ("reserve", '[["t","",1000,253402300800000,"f",[["A",1]]]]'),
        ("reserve", '[["t","",-62135596800001,2000,"f",[["A",1]]]]'),
        ("reserve", '[["t","",1000,999999999999999999,"f",[["A",1]]]]'),
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
    assert row["expires_at"] == extended.hold.expires_ms
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
