"""The timetable: registered once, registered again when something was lost, and no longer than one job a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis
from rq.job import Job

from engine.settings import Settings
from jobs.scheduler import TimetableScheduler
from jobs.timetable import QUEUES, Task, queue_key, register, timetable
from tests.jobs.processes import Processes, until
from tests.system import System

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")]

SCHEDULED = TimetableScheduler.scheduled_jobs_key
IDS = {"flush", "expire", "reconcile", "trim"}


@pytest.fixture
def scheduler(settings: Settings) -> Iterator[TimetableScheduler]:
    with redis.Redis.from_url(settings.require_redis_url()) as connection:
        yield TimetableScheduler(settings, connection=connection)


def scheduled(scheduler: TimetableScheduler) -> dict[str, float]:
    return {name.decode(): score for name, score in scheduler.connection.zrange(SCHEDULED, 0, -1, withscores=True)}


def everything(scheduler: TimetableScheduler) -> Any:
    jobs = {name: scheduler.connection.hgetall(f"rq:job:{name}") for name in IDS}
    return scheduled(scheduler), jobs


def due_now(scheduler: TimetableScheduler) -> None:
    scheduler.connection.zadd(SCHEDULED, dict.fromkeys(IDS, 1))


def waiting(scheduler: TimetableScheduler) -> list[str]:
    return [name.decode() for queue in QUEUES for name in scheduler.connection.lrange(queue_key(queue), 0, -1)]


def test_every_task_is_a_function_that_exists_on_a_queue_that_has_a_worker(settings: Settings) -> None:
    assert {task.id for task in timetable(settings)} == IDS
    for task in timetable(settings):
        assert task.queue in QUEUES
        job = Job.create(task.function, connection=redis.Redis.from_url(settings.require_redis_url()))
        assert callable(job.func)


def test_registering_schedules_every_task_at_its_period(scheduler: TimetableScheduler, settings: Settings) -> None:
    assert set(register(scheduler, settings)) == IDS
    assert scheduled(scheduler).keys() == IDS
    for task in timetable(settings):
        job = Job.fetch(task.id, connection=scheduler.connection)
        assert Task(job.id, job.origin, str(job.func_name), job.meta["interval"]) == task


def test_half_a_record_that_a_worker_left_in_an_emptied_redis_is_replaced(
    scheduler: TimetableScheduler, settings: Settings
) -> None:
    half = {"last_heartbeat": "2026-01-01T00:00:00Z", "status": "started", "started_at": "2026-01-01T00:00:00Z"}
    scheduler.connection.hset("rq:job:flush", mapping=half)
    assert set(register(scheduler, settings)) == IDS
    job = Job.fetch("flush", connection=scheduler.connection)
    assert (job.func_name, job.started_at) == ("jobs.flush.flush", None)
    assert register(scheduler, settings) == []


def test_registering_again_changes_nothing(scheduler: TimetableScheduler, settings: Settings) -> None:
    register(scheduler, settings)
    before = everything(scheduler)
    assert register(scheduler, settings) == []
    assert everything(scheduler) == before


def test_a_changed_period_is_taken_over_and_the_others_stay(scheduler: TimetableScheduler, settings: Settings) -> None:
    register(scheduler, settings)
    changed = msgspec.structs.replace(settings, trim_every_s=7)
    assert register(scheduler, changed) == ["trim"]
    assert Job.fetch("trim", connection=scheduler.connection).meta["interval"] == 7
    assert register(scheduler, changed) == []


@pytest.mark.parametrize("task_id", sorted(IDS))
def test_a_task_whose_schedule_or_job_was_lost_is_registered_again(
    scheduler: TimetableScheduler, settings: Settings, task_id: str
) -> None:
    register(scheduler, settings)
    scheduler.connection.zrem(SCHEDULED, task_id)
    assert register(scheduler, settings) == [task_id]
    scheduler.connection.delete(f"rq:job:{task_id}")
    assert register(scheduler, settings) == [task_id]
    assert scheduled(scheduler).keys() == IDS


def test_each_poll_moves_what_is_due_to_its_queue_and_schedules_it_again(scheduler: TimetableScheduler) -> None:
    scheduler.enqueue_jobs()
    assert sorted(waiting(scheduler)) == sorted(IDS)
    assert scheduled(scheduler).keys() == IDS


def test_while_no_worker_runs_each_task_waits_once_however_often_it_comes_due(scheduler: TimetableScheduler) -> None:
    for _ in range(5):
        scheduler.enqueue_jobs()
        due_now(scheduler)
    assert sorted(waiting(scheduler)) == sorted(IDS)


async def test_the_scheduler_process_registers_what_was_lost_and_ends_on_sigterm(
    system: System, processes: Processes
) -> None:
    scheduler = processes.scheduler()

    async def is_registered() -> bool:
        there = await system.raw.zrange(SCHEDULED, 0, -1)
        return set(there) == IDS and await system.raw.exists(*(f"rq:job:{name}" for name in IDS)) == len(IDS)

    await until(is_registered, "the timetable is registered")
    await system.raw.zrem(SCHEDULED, "trim")
    await system.raw.delete("rq:job:reconcile")
    await until(is_registered, "what was lost is registered again", 5)
    assert scheduler.end(10) == 0, scheduler.log
    assert "Traceback" not in scheduler.log


@pytest.mark.parametrize("name", ["worker", "scheduler"])
@pytest.mark.parametrize(
    ("changed", "told"),
    [({"HOLDFAST_PORT": "many"}, "HOLDFAST_PORT"), ({"HOLDFAST_REDIS_URL": ""}, "HOLDFAST_REDIS_URL is not set")],
    ids=["a bad value", "no Redis"],
)
def test_settings_that_cannot_be_used_end_a_process_with_one_clear_line(
    processes: Processes, name: str, changed: dict[str, str], told: str
) -> None:
    job = processes.worker("flush", **changed) if name == "worker" else processes.scheduler(**changed)
    assert job.process.wait(20) != 0
    lines = job.log.strip().splitlines()
    assert told in lines[-1]
    assert "Traceback" not in job.log


def test_a_queue_that_does_not_exist_ends_a_worker_with_one_clear_line(processes: Processes) -> None:
    job = processes.worker("mail")
    assert job.process.wait(20) == 2
    assert "invalid choice: 'mail'" in job.log.strip().splitlines()[-1]
