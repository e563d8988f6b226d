"""What an operator does about books that do not balance loses nothing without being told to, under traffic too."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import msgspec
import pytest

from engine.errors import Unavailable
from engine.events import LogGap
from engine.holds import HoldAnswer
from engine.stock import Adjust, StockAnswer
from jobs.reconcile import run
from persistence import fence as verification
from persistence import quarantine
from persistence.audit import set_levels_from_ledger
from persistence.flush import drain_once
from persistence.quarantine import Replay
from persistence.rebuild import GivenUp
from persistence.sql import queries
from tests.persistence.forging import lose_second, spoil_last
from tests.system import System

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
SEVEN_MORE = "UPDATE stock_levels SET available = available + 7, received = received + 7"


async def sell(system: System, sku: str, quantity: int) -> HoldAnswer:
    held = await system.hold(sku, quantity)
    await system.shard.commit(held.hold.token)
    return held


async def test_counts_are_set_to_a_ledger_that_no_flush_is_writing_to(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await sell(system, "A", 3)
    await system.pool.execute(SEVEN_MORE)
    async with system.pool.acquire() as connection, connection.transaction():
        await drain_once(connection, system.raw, system.keys, 100)
        mending = asyncio.create_task(set_levels_from_ledger(system.pool, system.keys.shard))
        done, _ = await asyncio.wait({mending}, timeout=0.3)
        assert not done
    assert await mending == 1
    assert (await system.audit()).is_clean


async def test_books_that_are_mended_under_traffic_balance(system: System) -> None:
    await system.create("A", 5_000)
    await system.flush()
    is_over = asyncio.Event()

    async def trade() -> None:
        while not is_over.is_set():
            await asyncio.gather(*(sell(system, "A", 1) for _ in range(5)), return_exceptions=True)

    async def flush() -> None:
        while not is_over.is_set():
            await system.flush()
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(trade()), asyncio.create_task(flush())]
    try:
        for _ in range(3):
            await asyncio.sleep(0.1)
            await system.pool.execute(SEVEN_MORE)
            assert await set_levels_from_ledger(system.pool, system.keys.shard) == 1
    finally:
        is_over.set()
        await asyncio.gather(*tasks)
    await system.flush()
    assert (await system.audit()).is_clean


async def test_a_rebuild_does_not_undo_sales_whose_events_are_nowhere_unless_they_are_given_up(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await sell(system, "A", 3)
    await system.raw.delete(system.keys.events)
    with pytest.raises(LogGap, match=r"up to 1-3, and PostgreSQL has those up to 1-1 only.*--give-up-missing"):
        await verification.rebuild(system.settings, system.pool)
    assert await system.counts("A") == (7, 0, 3)
    await verification.rebuild(system.settings, system.pool, given_up=GivenUp(missing=True))
    await system.verify()
    assert await system.counts("A") == (10, 0, 0)
    assert (await system.audit()).is_clean


async def test_a_gap_in_the_log_may_be_given_up_for_a_rebuild(system: System) -> None:
    await lose_second(system)
    with pytest.raises(LogGap, match="--give-up-missing"):
        await verification.rebuild(system.settings, system.pool, given_up=GivenUp(quarantined=True))
    await verification.rebuild(system.settings, system.pool, given_up=GivenUp(missing=True))
    await system.verify()
    assert await system.counts("A") == (10, 0, 0)
    assert (await system.audit()).is_clean


async def test_nothing_is_rebuilt_from_counts_that_contradict_their_ledger(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute(SEVEN_MORE)
    with pytest.raises(Unavailable, match=r"counts of A are not the sum of its ledger: holdfast reconcile --fix"):
        await verification.rebuild(system.settings, system.pool)
    await system.verify()
    assert await system.counts("A") == (10, 0, 0)
    assert (await run(system.settings, fix=True)).rebuilt


async def test_counts_because_of_which_an_event_was_set_aside_are_mended_so_that_it_can_be_replayed(
    system: System,
) -> None:
    await system.create("A", 10)
    held = await system.hold("A", 2)
    await system.flush()
    await system.pool.execute("UPDATE stock_levels SET available = available + 2, reserved = reserved - 2")
    await system.shard.commit(held.hold.token)
    await system.flush()
    (item,) = await quarantine.waiting(system.pool)
    mended = await run(system.settings, fix=True)
    assert (mended.levels_mended, mended.rebuilt, mended.audit.quarantined) == (1, False, 1)
    assert await quarantine.replay(system.pool, 0, item.epoch, item.seq) == Replay(1, None)
    assert (await run(system.settings, fix=False)).audit.is_clean
    await system.verify()
    assert await system.counts("A") == (8, 0, 2)


async def test_an_event_of_an_earlier_epoch_is_replayed_only_where_redis_is_rebuilt_with_it(system: System) -> None:
    await system.create("A", 10)
    await sell(system, "A", 2)
    told = msgspec.json.encode(msgspec.json.decode(await spoil_last(system))[0]).decode()
    await system.flush()
    await system.raw.flushall()
    await system.verify()
    assert await system.counts("A") == (8, 2, 0)
    (item,) = await quarantine.waiting(system.pool)
    refused = await quarantine.replay(system.pool, 0, item.epoch, item.seq, told)
    assert refused is not None and refused.reason is not None
    assert "a new epoch began since then (2)" in refused.reason and "--rebuild" in refused.reason
    done = await quarantine.replay(system.pool, 0, item.epoch, item.seq, told, is_rebuilt=True)
    assert done == Replay(1, None)
    await verification.rebuild(system.settings, system.pool)
    await system.verify()
    assert await system.counts("A") == (8, 0, 2)
    assert (await system.audit()).is_clean


async def test_a_replay_of_an_entry_brings_the_answers_of_its_keys_along(system: System) -> None:
    await system.create("A", 10)
    request = Adjust("recv-2", "print", "A", 5, "received")
    assert isinstance(await system.shard.adjust(request), StockAnswer)
    entries: Any = await system.raw.xrange(system.keys.events)
    await system.raw.delete(system.keys.events)
    (first_id, first), (last_id, told) = entries
    for entry_id, fields in ((first_id, first), (last_id, {**told, "n": "many"})):
        await system.raw.xadd(system.keys.events, fields, id=entry_id)
    await system.flush()
    (item,) = await quarantine.waiting(system.pool)
    payload = msgspec.json.encode(told).decode()
    assert await quarantine.replay(system.pool, 0, item.epoch, item.seq, payload) == Replay(1, None)
    await verification.rebuild(system.settings, system.pool)
    await system.verify()
    again = await system.shard.adjust(request)
    assert isinstance(again, StockAnswer) and again.replayed
    assert await system.counts("A") == (15, 0, 0)


async def test_a_rebuild_does_not_go_back_to_an_earlier_epoch_of_postgresql_either(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await verification.rebuild(system.settings, system.pool)
    await system.verify()
    await sell(system, "A", 3)
    await system.flush()
    await system.pool.execute("UPDATE flush_offsets SET epoch = 1, seq = 1")
    await system.pool.execute("DELETE FROM stock_ledger WHERE epoch = 2")
    await system.pool.execute("UPDATE stock_levels SET available = 10, sold = 0")
    with pytest.raises(LogGap, match="PostgreSQL has those up to 1-1 only"):
        await verification.rebuild(system.settings, system.pool)
    await system.pool.execute("DELETE FROM flush_offsets")
    with pytest.raises(LogGap, match="PostgreSQL has those up to 0-0 only"):
        await verification.rebuild(system.settings, system.pool)
    assert await system.raw.hget(system.keys.meta, "epoch") == "2"


async def test_a_replay_and_the_mending_of_counts_wait_for_each_other(system: System) -> None:
    await system.create("A", 10)
    await sell(system, "A", 2)
    told = msgspec.json.encode(msgspec.json.decode(await spoil_last(system))[0]).decode()
    await system.flush()
    (item,) = await quarantine.waiting(system.pool)
    async with system.pool.acquire() as connection, connection.transaction():
        await connection.execute(queries("flush")["lock_offset"], 0)
        replaying = asyncio.create_task(quarantine.replay(system.pool, 0, item.epoch, item.seq, told))
        done, _ = await asyncio.wait({replaying}, timeout=0.3)
        assert not done
    assert await replaying == Replay(1, None)


async def test_counts_that_are_gone_come_back_from_the_ledger_and_a_ledger_that_is_gone_is_told(system: System) -> None:
    for sku in ("A", "B"):
        await system.create(sku, 10)
    await system.flush()
    await system.pool.execute("DELETE FROM stock_levels WHERE sku = 'A'")
    mended = await run(system.settings, fix=True)
    assert (mended.levels_mended, mended.rebuilt, mended.audit.is_clean) == (1, True, True)
    await system.verify()
    assert await system.counts("A") == (10, 0, 0)
    await system.pool.execute("DELETE FROM stock_ledger WHERE sku = 'B'")
    with pytest.raises(Unavailable, match="counts of B without a ledger"):
        await verification.rebuild(system.settings, system.pool)


async def test_the_command_replays_an_event_of_an_earlier_epoch_and_rebuilds(system: System) -> None:
    await system.create("A", 10)
    await sell(system, "A", 2)
    told = msgspec.json.encode(msgspec.json.decode(await spoil_last(system))[0])
    await system.flush()
    await system.raw.flushall()
    await system.verify()
    (item,) = await quarantine.waiting(system.pool)
    with NamedTemporaryFile(suffix=".json") as payload:
        payload.write(told)
        payload.flush()
        place = f"{item.epoch}-{item.seq}"
        arguments = ("quarantine", "replay", place, "--payload", payload.name, "--rebuild", "--json")
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env={**os.environ, **system.settings.to_environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, '{"events":1,"reason":null}\n'), done.stderr
    await system.verify()
    assert await system.counts("A") == (8, 0, 2)
    assert (await system.audit()).is_clean
