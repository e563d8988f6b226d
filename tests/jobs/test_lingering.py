"""A job that lingers hears its worker, however early that asks it to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

from jobs.lingering import STOP_SIGNAL, Linger
from jobs.timetable import FLUSH_QUEUE

EARLY = f"""
import signal, sys, jobs.worker
from engine.settings import read_settings
def forked(*_):
    sys.stdout.write(str(signal.pthread_sigmask(signal.SIG_BLOCK, set()) >= {{{int(STOP_SIGNAL)}}}))
    sys.exit()
jobs.worker.connect_blocking = forked
jobs.worker.work("flush", read_settings())
"""


def test_a_stop_that_came_before_the_job_lingered_is_heard() -> None:
    async def linger() -> None:
        await asyncio.wait_for(Linger(FLUSH_QUEUE, max_s=60).pause(30), 5)

    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {STOP_SIGNAL})
    try:
        os.kill(os.getpid(), STOP_SIGNAL)
        asyncio.run(linger())
    finally:
        signal.signal(STOP_SIGNAL, signal.SIG_IGN)  # one that still waits would end the tests
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def test_a_worker_holds_the_stop_back_for_its_jobs_before_it_starts_any() -> None:
    told = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=30, check=True)
    assert told.stdout == "True"
