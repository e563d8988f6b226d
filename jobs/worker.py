"""A worker process: one RQ worker on one queue. Run as `python -m jobs.worker flush` or `… housekeeping`.

One queue each, because a worker on several takes jobs by BLPOP and loses the id of one when it is killed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal

from redis import Redis
from rq import Queue, Worker
from rq_scheduler import Scheduler

# All of the jobs, before the fork, so that none pays for its imports.
import jobs.expire
import jobs.flush
import jobs.reconcile
import jobs.trim
from engine.errors import HoldfastError
from engine.settings import Settings, SettingsError, read_settings
from jobs.lingering import STOP_SIGNAL
from jobs.timetable import FLUSH_QUEUE, QUEUES, nudge_flush, register
from persistence.pool import FAULTS

log = logging.getLogger(__name__)


class PoliteWorker(Worker):
    """Tells a lingering job that the worker wants to stop, and is not kept waiting long by a Redis that was away."""

    max_connection_wait_time = 2.0

    def handle_warm_shutdown_request(self) -> None:
        """Ask the job at work to come to its end."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        if self.horse_pid:
            os.kill(self.horse_pid, STOP_SIGNAL)


def work(queue: str, settings: Settings) -> None:
    """Work off `queue` until SIGTERM; a flush worker drains once more at its end."""
    # Inherited by each job's process: the signal must not kill one that has no handler for it.
    signal.signal(STOP_SIGNAL, signal.SIG_IGN)
    connection = Redis.from_url(settings.require_redis_url(), socket_timeout=None)
    register(Scheduler(queue_name=queue, connection=connection), settings)
    nudge_flush(connection)
    PoliteWorker([Queue(queue, connection=connection)], connection=connection).work(
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
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    work(queue, settings)


if __name__ == "__main__":
    main()
