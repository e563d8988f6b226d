"""A worker process: one RQ worker on one queue. Run as `python -m jobs.worker flush` or `… housekeeping`.

One queue each, because a worker on several takes jobs by BLPOP and loses the id of one when it is killed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from typing import Any

from rq import Queue, Worker
from rq.job import Job
from rq_scheduler import Scheduler

# All of the jobs, before the fork, so that none pays for its imports.
import jobs.expire
import jobs.flush
import jobs.reconcile
import jobs.trim
from engine.connection import connect_blocking
from engine.errors import HoldfastError
from engine.logs import describe_exception, set_up_plain_logging
from engine.settings import Settings, SettingsError, read_settings
from jobs.lingering import STOP_SIGNAL
from jobs.timetable import FLUSH_QUEUE, QUEUES, nudge_flush, register
from persistence.pool import FAULTS

WORKER_TTL_S = 30
"""RQ waits for a job for 15 s less, so a server that neither answers nor ends the connection is left after 25 s."""

log = logging.getLogger(__name__)


class PoliteWorker(Worker):
    """Tells a lingering job that the worker wants to stop, and is not kept waiting long by a Redis that was away."""

    max_connection_wait_time = 2.0

    def handle_warm_shutdown_request(self) -> None:
        """Ask the job at work to come to its end."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        if self.horse_pid:
            os.kill(self.horse_pid, STOP_SIGNAL)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log a failure as every log here shows one; RQ's own line has the whole message, with rows in it."""
        log.error("job %s failed\n%s", job.id, describe_exception(exc_info[1]))


def work(queue: str, settings: Settings) -> None:
    """Work off `queue` until SIGTERM; a flush worker drains once more at its end."""
    # Inherited by each job's process: the signal waits until the job has a handler for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {STOP_SIGNAL})
    connection = connect_blocking(settings, None)
    register(Scheduler(queue_name=queue, connection=connection), settings)
    nudge_flush(connection)
    PoliteWorker([Queue(queue, connection=connection)], connection=connection, worker_ttl=WORKER_TTL_S).work(
        logging_level="DEBUG" if settings.log_level == "debug" else "WARNING"
    )
    if queue == FLUSH_QUEUE:
        try:
            jobs.flush.flush_once(settings)
        except (HoldfastError, *FAULTS) as error:
            log.warning("the last flush was not possible: %s; the log keeps its events", error)


def main() -> None:
    """The command line: one queue's name. A wrong one, or wrong settings, end it with one line and status 2."""
    parser = argparse.ArgumentParser(prog="python -m jobs.worker", description=__doc__)
    parser.add_argument("queue", choices=QUEUES)
    queue = parser.parse_args().queue
    try:
        settings = read_settings()
        settings.require_redis_url()
        settings.require_database_url()
    except SettingsError as error:
        parser.error(str(error))
    set_up_plain_logging(settings.log_level)
    try:
        work(queue, settings)
    except SettingsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
