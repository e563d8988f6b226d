"""A job that lingers hears its worker, however early that asks it to stop. In processes of one thread, as jobs are."""

from __future__ import annotations

import subprocess
import sys

LATE_LINGER = """
import asyncio, os, signal
from jobs.lingering import STOP_SIGNAL, Linger
signal.pthread_sigmask(signal.SIG_BLOCK, {STOP_SIGNAL})
os.kill(os.getpid(), STOP_SIGNAL)
async def linger():
    await asyncio.wait_for(Linger("flush", max_s=60).pause(30), 5)
asyncio.run(linger())
print("heard")
"""
NO_JOB_YET = """
import signal, sys, jobs.worker
from engine.settings import read_settings
def connect(*_):
    sys.exit(f"held back: {jobs.worker.STOP_SIGNAL in signal.pthread_sigmask(signal.SIG_BLOCK, set())}")
jobs.worker.connect_blocking = connect
jobs.worker.work("flush", read_settings())
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_a_stop_that_came_before_the_job_lingered_is_heard() -> None:
    told = run(LATE_LINGER)
    assert told.stdout.strip() == "heard", told.stderr


def test_a_worker_holds_the_stop_back_for_its_jobs_before_it_starts_any() -> None:
    assert run(NO_JOB_YET).stderr.strip() == "held back: True"
