"""Lingering: a job stays at its work until another nudge waits, so that a process is not forked for each moment."""

from __future__ import annotations

import asyncio
import os
import signal

from redis.asyncio import Redis

from jobs.timetable import queue_key

STOP_SIGNAL = signal.SIGUSR1
"""What a worker that wants to stop sends to its job, where it is blocked until somebody lingers."""

MAX_LINGER_S = 30.0


class Linger:
    """Says when a job makes room: something waits on its queue, its time is up, or its worker stops or is gone."""

    def __init__(self, queue: str, max_s: float = MAX_LINGER_S) -> None:
        loop = asyncio.get_running_loop()
        self._queue_key = queue_key(queue)
        self._deadline = loop.time() + max_s
        self._parent = os.getppid()
        self._stop = asyncio.Event()
        loop.add_signal_handler(STOP_SIGNAL, self._stop.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {STOP_SIGNAL})

    async def is_over(self, redis: Redis) -> bool:
        """Whether the job should end now."""
        return (
            self.is_broken_off()
            or asyncio.get_running_loop().time() >= self._deadline
            or bool(await redis.llen(self._queue_key))
        )

    def is_broken_off(self) -> bool:
        """Whether its worker stops or is gone, so that the job ends whatever is left to do."""
        return self._stop.is_set() or os.getppid() != self._parent

    async def pause(self, seconds: float) -> None:
        """Wait, but not past the stop signal."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
