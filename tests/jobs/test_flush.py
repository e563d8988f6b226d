"""The flush as it runs: a worker process that is slow, killed, doubled, stopped, or left without its PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil
import pytest

from engine.holds import HoldAnswer
from engine.settings import Settings
from jobs.flush import _flush
from jobs.lingering import STOP_SIGNAL
from jobs.timetable import FLUSH_QUEUE, queue_key
from persistence.flush import Drained, Offset, drain_once
from tests.jobs.processes import Processes, applied, assert_exactly_once, horse_of, until
from tests.system import System, open_system, reserve

pytestmark = pytest.mark.anyio

GENEROUS_LAG_S = 5.0


async def shop(system: System, count: int) -> None:
    """Holds, of which a third is sold, a third is given back and a third goes on."""
    answers = await asyncio.gather(*(system.shard.reserve(reserve("A")) for _ in range(count)))
    tokens = [answer.hold.token for answer in answers if isinstance(answer, HoldAnswer)]
    await asyncio.gather(*(system.shard.commit(token) for token in tokens[::3]))
    await asyncio.gather(*(system.shard.release(token) for token in tokens[1::3]))


@asynccontextmanager
async def shoppers(system: System, at_once: int = 20, pause_s: float = 0.02) -> AsyncIterator[None]:
    """Traffic for as long as the context lasts."""
    over = asyncio.Event()

    async def traffic() -> None:
        while not over.is_set():
            await shop(system, at_once)
            await asyncio.sleep(pause_s)

    task = asyncio.create_task(traffic())
    try:
        yield
    finally:
        over.set()
        await task


async def test_the_flush_is_near_at_rest_and_under_moderate_load(system: System, processes: Processes) -> None:
    processes.worker("flush")
    await system.create("A", 100_000)
    print(f"\nfrom the worker's start to the first flush: {await applied(system):.2f} s")  # noqa: T201
    lags = []
    for _ in range(10):
        await system.hold("A")
        lags.append(await applied(system))
        await asyncio.sleep(0.03)
    print(f"lag at rest: median {sorted(lags)[5]:.3f} s, worst {max(lags):.3f} s")  # noqa: T201
    assert max(lags) < GENEROUS_LAG_S
    loaded = []
    async with shoppers(system):
        for _ in range(15):
            await asyncio.sleep(0.08)
            loaded.append((await system.shard.backlog()).lag_s)
    seq = (await system.shard.backlog()).seq
    print(f"lag under load, {seq} events: median {sorted(loaded)[7]:.3f} s, worst {max(loaded):.3f} s")  # noqa: T201
    assert max(loaded) < GENEROUS_LAG_S
    assert await applied(system) < GENEROUS_LAG_S
    await assert_exactly_once(system)


async def test_a_worker_killed_in_the_middle_of_a_load_and_restarted_loses_and_doubles_nothing(
    system: System, processes: Processes
) -> None:
    await system.create("A", 100_000)
    worker, scheduler = processes.worker("flush"), processes.scheduler()
    await applied(system)
    async with shoppers(system):
        for _ in range(2):
            await asyncio.sleep(0.4)
            worker.kill()
            await asyncio.sleep(0.2)
            worker = processes.worker("flush")
            await asyncio.sleep(0.4)
    took = await applied(system, 30)
    print(f"\nPostgreSQL had everything {took:.1f} s after the load")  # noqa: T201
    assert scheduler.process.poll() is None
    await assert_exactly_once(system)


async def test_a_horse_killed_alone_is_followed_by_another(system: System, processes: Processes) -> None:
    await system.create("A", 100_000)
    worker = processes.worker("flush")
    processes.scheduler()
    await applied(system)
    async with shoppers(system):
        await asyncio.sleep(0.3)
        with suppress(psutil.NoSuchProcess):  # it may just have made way for the next, which is as good
            (await horse_of(worker)).kill()
        await asyncio.sleep(0.3)
    await applied(system, 30)
    assert worker.process.poll() is None
    await assert_exactly_once(system)


async def test_a_worker_killed_alone_leaves_a_horse_that_comes_to_its_end(system: System, processes: Processes) -> None:
    await system.create("A", 1_000)
    worker = processes.worker("flush")
    await applied(system)
    horse = await horse_of(worker)
    worker.process.kill()
    worker.process.wait()
    await shop(system, 30)

    async def is_over() -> bool:
        try:
            return not horse.is_running() or horse.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    await until(is_over, "the horse without a worker ended")
    assert not await system.raw.exists(system.keys.flush_lease)
    await system.flush()
    await assert_exactly_once(system)


async def test_a_drainer_that_died_between_its_commit_and_its_trim_leaves_nothing_to_do_twice(
    system: System, processes: Processes
) -> None:
    await system.create("A", 1_000)
    await shop(system, 60)
    async with system.pool.acquire() as connection:
        drained = await drain_once(connection, system.raw, system.keys, 50)
    assert drained.events >= 50
    assert await system.raw.xlen(system.keys.events) > 0
    processes.worker("flush")
    await applied(system)

    async def is_trimmed() -> bool:
        return int(await system.raw.xlen(system.keys.events)) == 0

    await until(is_trimmed, "the log was let go of")
    assert (await system.shard.backlog()).events == 0
    await assert_exactly_once(system)


async def test_two_flush_workers_at_once_apply_each_event_once(system: System, processes: Processes) -> None:
    await system.create("A", 100_000)
    workers = [processes.worker("flush"), processes.worker("flush")]
    processes.scheduler()
    await applied(system)
    async with shoppers(system):
        await asyncio.sleep(1)
        # Without the lease nothing but the offset's row lock stands between the two.
        await system.raw.delete(system.keys.flush_lease)
        await asyncio.sleep(0.5)
    await applied(system)
    await assert_exactly_once(system)
    assert all(worker.process.poll() is None for worker in workers)


async def test_a_horse_that_was_stopped_while_another_flushed_doubles_nothing_when_it_wakes(
    system: System, processes: Processes
) -> None:
    await system.create("A", 100_000)
    worker = processes.worker("flush")
    await applied(system)
    horse = await horse_of(worker)
    async with shoppers(system):
        await asyncio.sleep(0.2)
        horse.send_signal(signal.SIGSTOP)
        # As if its lease had run out. It may sleep in a transaction: then PostgreSQL ends that after its idle time.
        await system.raw.delete(system.keys.flush_lease)
        other = processes.worker("flush")
        await asyncio.sleep(1.5)
        horse.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.2)
    await applied(system, 30)
    assert other.process.poll() is None
    await assert_exactly_once(system)


async def test_sigterm_ends_a_lingering_worker_soon_and_nothing_that_was_there_is_left(
    system: System, processes: Processes
) -> None:
    await system.create("A", 1_000)
    worker = processes.worker("flush")
    await applied(system)
    await horse_of(worker)
    await shop(system, 100)
    assert worker.end(10) == 0, worker.log
    assert (await system.shard.backlog()).events == 0
    assert not await system.raw.exists(system.keys.flush_lease)
    await assert_exactly_once(system)


async def test_sigterm_ends_a_worker_soon_even_under_a_load_that_never_pauses(
    system: System, processes: Processes
) -> None:
    await system.create("A", 100_000)
    worker = processes.worker("flush")
    await applied(system)
    async with shoppers(system, at_once=60, pause_s=0):
        await asyncio.sleep(0.3)
        status = await asyncio.to_thread(worker.end, 10)
    assert status == 0, worker.log
    await system.flush()
    await assert_exactly_once(system)


async def test_a_flush_that_is_far_behind_ends_between_two_transactions_when_its_worker_stops(
    settings: Settings, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.create("A", 10)
    taken = 0

    async def full(_resources: object) -> Drained:
        nonlocal taken
        taken += 1
        assert taken < 50, "it goes on"
        if taken == 3:
            os.kill(os.getpid(), STOP_SIGNAL)
        await asyncio.sleep(0.001)
        return Drained(Offset(1, taken), settings.flush_batch_events, 0)

    monkeypatch.setattr("jobs.flush.drain", full)
    await _flush(settings, linger_s=30)
    assert 3 <= taken < 10


async def test_a_lingering_flush_makes_way_for_a_waiting_nudge_even_under_a_load_that_never_pauses(
    system: System, processes: Processes
) -> None:
    """Otherwise it would run into RQ's time limit, and nudges would pile up behind it."""
    await system.create("A", 100_000)
    worker = processes.worker("flush")
    processes.scheduler()
    await applied(system)
    horse = await horse_of(worker)
    async with shoppers(system, at_once=60, pause_s=0):

        async def is_relieved() -> bool:
            return all(each.pid != horse.pid for each in worker.horses)

        await until(is_relieved, "another job took over", 10)
    assert int(await system.raw.llen(queue_key(FLUSH_QUEUE))) <= 2
    await applied(system)
    await assert_exactly_once(system)


async def test_the_flush_goes_on_after_redis_forgot_everything_that_is_not_in_postgresql(
    system: System, processes: Processes
) -> None:
    """FLUSHALL takes RQ's keys too: the scheduler registers the timetable again, and a job rebuilds the shard."""
    await system.create("A", 100)
    worker, scheduler = processes.worker("flush"), processes.scheduler()
    await shop(system, 30)
    await applied(system)
    before = await system.counts("A")
    await system.raw.flushall()

    async def is_rebuilt() -> bool:
        return await system.raw.hget(system.keys.meta, "epoch") == "2"

    print(f"\nrebuilt by a job after {await until(is_rebuilt, 'a job rebuilt the shard', 30):.1f} s")  # noqa: T201
    await system.verify()
    assert await system.counts("A") == before
    await system.hold("A")
    await applied(system)
    assert (await system.audit()).is_clean
    assert worker.process.poll() is None
    assert scheduler.process.poll() is None


async def test_a_second_engine_goes_on_where_the_first_ended(settings: Settings, processes: Processes) -> None:
    processes.worker("flush")
    async with open_system(settings) as first:
        await first.create("A", 10)
        await first.hold("A", 3)
    async with open_system(settings) as second:
        await applied(second)
        assert await second.counts("A") == (7, 3, 0)
        await assert_exactly_once(second)
