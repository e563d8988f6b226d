"""The scheduler process: rq-scheduler, polling each second, that keeps the timetable registered.

Run as `python -m jobs.scheduler`.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
import warnings
from types import FrameType
from typing import Any

from rq.job import Job
from rq_scheduler import Scheduler

from engine.connection import connect_blocking
from engine.logs import set_up_plain_logging
from engine.settings import Settings, SettingsError, read_settings
from jobs.timetable import FLUSH_QUEUE, register

POLL_S = 1

log = logging.getLogger(__name__)


class TimetableScheduler(Scheduler):  # type: ignore[misc]
    """Checks at each poll that no periodic job was lost."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(queue_name=FLUSH_QUEUE, interval=POLL_S, **options)
        self._settings = settings
        self._is_stopping = False

    def _install_signal_handlers(self) -> None:
        """Only note that it shall stop: what rq-scheduler does at once breaks off whatever it is just asking Redis."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note_stop)

    def _note_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True

    def heartbeat(self) -> None:
        """Say that it lives, before and after each poll, or end."""
        if self._is_stopping:
            raise SystemExit
        super().heartbeat()

    def enqueue_jobs(self) -> Any:
        """Register what is missing, then move due jobs to their queues."""
        for task_id in register(self, self._settings):
            log.info("registered %s", task_id)
        return super().enqueue_jobs()

    def enqueue_job(self, job: Job) -> None:
        """Let a job that still waits wait: a worker that was away would find one for every period it missed."""
        if self.get_queue_for_job(job).get_job_position(job.id) is None:
            super().enqueue_job(job)
        else:
            self.connection.zadd(self.scheduled_jobs_key, {job.id: time.time() + job.meta["interval"]})


def main() -> None:
    """Serve until SIGTERM; a lost connection ends the process, and its supervisor starts it again."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="rq_scheduler")
    try:
        settings = read_settings()
        settings.require_redis_url()
    except SettingsError as error:
        sys.exit(f"python -m jobs.scheduler: error: {error}")
    set_up_plain_logging(settings.log_level)
    connection = connect_blocking(settings, settings.redis_timeout_s)
    TimetableScheduler(settings, connection=connection).run()


if __name__ == "__main__":
    main()
