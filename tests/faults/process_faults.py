"""Faults of processes: killed, or stopped for longer than any lease and then woken."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.faults.stage import Stage
from tests.faults.system import until

STOPPED_S = 3.5
"""Longer than Redis is waited for (2 s) and than the drainer's lease (3 s)."""


async def kill_api(stage: Stage) -> None:
    stage.system.kill("api")


async def kill_flush_worker(stage: Stage) -> None:
    """The worker and the job that it forked."""
    stage.system.signal([*stage.system.children("flush"), *stage.system.pids("flush")], signal.SIGKILL)


async def kill_flush_job(stage: Stage) -> None:
    """The job alone, in the middle of whatever it does, three times."""
    for _ in range(3):
        stage.system.signal(stage.system.children("flush"), signal.SIGKILL)
        await asyncio.sleep(stage.dice.uniform(0.05, 0.3))


async def kill_worker_as_it_takes_a_job(stage: Stage) -> None:
    """The worker as soon as its job is over, so between two jobs: as it takes one, or before it forks for it."""
    stage.system.signal(stage.system.children("flush"), signal.SIGKILL)
    await asyncio.sleep(stage.dice.uniform(0, 0.02))
    stage.system.kill("flush")


async def kill_housekeeping(stage: Stage) -> None:
    stage.system.signal([*stage.system.children("housekeeping"), *stage.system.pids("housekeeping")], signal.SIGKILL)


async def kill_scheduler(stage: Stage) -> None:
    """At some moment of its one-second round."""
    await asyncio.sleep(stage.dice.uniform(0, 1))
    stage.system.kill("scheduler")


async def kill_redis(stage: Stage) -> None:
    stage.system.kill("redis")


async def kill_postgres(stage: Stage) -> None:
    stage.system.kill("postgres")


async def kill_everything(stage: Stage) -> None:
    system = stage.system
    doomed = [*system.children("flush"), *system.children("housekeeping"), *system.pids("everything")]
    system.signal(doomed, signal.SIGKILL)
    stage.end()
    await system.start_again()


async def kill_supervisor(stage: Stage) -> None:
    """`up` itself: what it started ends with it, and another `up` goes on."""
    stage.system.kill("supervisor")
    stage.end()
    await stage.system.start_again()


async def stop_api(stage: Stage) -> None:
    await _stop(stage, stage.system.pids("api"))


async def stop_redis(stage: Stage) -> None:
    await _stop(stage, stage.system.pids("redis"))


async def stop_postgres(stage: Stage) -> None:
    await _stop(stage, [*stage.system.pids("postgres"), *stage.system.children("postgres")])


async def stop_flush(stage: Stage) -> None:
    await _stop(stage, [*stage.system.pids("flush"), *stage.system.children("flush")])


async def two_at_once(stage: Stage) -> None:
    """Any two of those that leave each other alone."""
    await asyncio.gather(*(fault(stage) for fault in stage.dice.sample(OVERLAPPING, 2)))


async def wake_zombie_drainer(stage: Stage) -> None:
    """A drainer stands still in mid-work while its worker dies; another one takes over, and then the first wakes."""
    zombies = stage.system.children("flush")
    stage.system.signal(zombies, signal.SIGSTOP)
    try:
        old = stage.system.pids("flush")
        stage.system.kill("flush")
        await until(lambda: stage.system.pids("flush") not in ([], old), "another worker took over", 30)
        await asyncio.sleep(STOPPED_S)
    finally:
        stage.system.signal(zombies, signal.SIGCONT)


async def wake_zombie_api(stage: Stage) -> None:
    """One API process stands still in mid-work while Redis is emptied and a new epoch begins; then it wakes."""
    zombies = stage.system.pids("api")[:1]
    stage.system.signal(zombies, signal.SIGSTOP)
    try:
        await asyncio.sleep(0.5)
        async with stage.site.redis() as redis:
            await redis.flushall()
        await stage.lost()
        await asyncio.sleep(STOPPED_S)
    finally:
        stage.system.signal(zombies, signal.SIGCONT)


async def _stop(stage: Stage, pids: list[int]) -> None:
    stage.system.signal(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue


OVERLAPPING = (
    kill_api,
    kill_flush_worker,
    kill_flush_job,
    kill_housekeeping,
    kill_scheduler,
    kill_redis,
    kill_postgres,
    stop_api,
    stop_flush,
    stop_redis,
    stop_postgres,
)
