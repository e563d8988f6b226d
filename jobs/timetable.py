"""The timetable: which job runs how often, on which queue. Fixed ids, so that registering again changes nothing."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from msgspec import Struct
from redis import Redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq_scheduler import Scheduler

from engine.settings import Settings

FLUSH_QUEUE = "flush"
HOUSEKEEPING_QUEUE = "housekeeping"
QUEUES = (FLUSH_QUEUE, HOUSEKEEPING_QUEUE)
JOB_TIMEOUT_S = 300
NUDGE_PREFIX = "flush-nudge-"


class Task(Struct, frozen=True):
    """A periodic job: `function` is its dotted name."""

    id: str
    queue: str
    function: str
    every_s: int


def timetable(settings: Settings) -> list[Task]:
    """Every periodic job."""
    return [
        Task("flush", FLUSH_QUEUE, "jobs.flush.flush", settings.flush_every_s),
        Task("expire", HOUSEKEEPING_QUEUE, "jobs.expire.expire", settings.expire_every_s),
        Task("reconcile", HOUSEKEEPING_QUEUE, "jobs.reconcile.reconcile", settings.reconcile_every_s),
        Task("trim", HOUSEKEEPING_QUEUE, "jobs.trim.trim", settings.trim_every_s),
    ]


def register(scheduler: Scheduler, settings: Settings) -> list[str]:
    """Schedule what is not scheduled, or otherwise than the settings say; returns the ids of it.

    rq-scheduler can lose a periodic job when it is killed between two of its steps, so this is called again and again.
    """
    registered = []
    for task in timetable(settings):
        job = _known_job(scheduler, task.id)
        is_current = job is not None and job.meta.get("interval") == task.every_s and job.func_name == task.function
        if is_current and task.id in scheduler:
            continue
        scheduler.schedule(
            scheduled_time=datetime.now(UTC),
            func=task.function,
            interval=task.every_s,
            id=task.id,
            queue_name=task.queue,
            timeout=JOB_TIMEOUT_S,
        )
        registered.append(task.id)
    return registered


def _known_job(scheduler: Scheduler, job_id: str) -> Job | None:
    """The job as it is recorded.

    When Redis was emptied while it ran, its worker leaves the half of a record behind, which is none.
    """
    try:
        return Job.fetch(job_id, connection=scheduler.connection)
    except NoSuchJobError:
        scheduler.connection.delete(Job.key_for(job_id))
        return None


def nudge_flush(connection: Redis) -> None:
    """Ask for a flush now, without waiting for the timetable.

    Each nudge has an id of its own: one that ends takes its job's record with it, and a second one of the same id that
    waited meanwhile would be skipped.
    """
    Queue(FLUSH_QUEUE, connection=connection).enqueue(
        "jobs.flush.flush",
        job_id=NUDGE_PREFIX + secrets.token_hex(8),
        result_ttl=0,
        failure_ttl=60,
        job_timeout=JOB_TIMEOUT_S,
    )


def queue_key(queue: str) -> str:
    """Redis' key of an RQ queue's list of waiting jobs."""
    return Queue.redis_queue_namespace_prefix + queue
