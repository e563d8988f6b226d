"""The fence: this process reserves only on a Redis process whose log was compared with PostgreSQL's offset.

A Redis that came back may know less than PostgreSQL does. Every connection names the server process behind it (its
`run_id`); one that nobody compared is refused, and so is every operation until someone did (persistence/fence.py).
"""

from __future__ import annotations

from collections.abc import Callable

from redis.exceptions import RedisError

from engine.errors import Unavailable


class Fenced(RedisError):
    """A connection reached a Redis process that is not verified. Not retried by redis-py."""


class Fence:
    """Open for one Redis process (`run_id`) and one epoch of its log, or closed for a reason."""

    def __init__(self) -> None:
        self._run_id: str | None = None
        self._epoch = 0
        self.reason = "Redis is not verified yet"
        self.on_close: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        return self._run_id is not None

    @property
    def epoch(self) -> int:
        """The epoch that operations carry. Raises Unavailable while the fence is closed."""
        if self._run_id is None:
            raise Unavailable(self.reason)
        return self._epoch

    def open(self, run_id: str, epoch: int) -> None:
        """Trust this server process, at this epoch."""
        self._run_id, self._epoch, self.reason = run_id, epoch, ""

    def close(self, reason: str) -> None:
        """Trust nothing until the next `open`."""
        self._run_id, self.reason = None, reason
        self.on_close()

    def explain(self, reason: str) -> None:
        """Say what is being done about it, while it is closed."""
        if self._run_id is None:
            self.reason = reason

    def admit(self, run_id: str) -> None:
        """Judge a new connection by the server process that it reached. Raises Fenced."""
        if self._run_id is None:
            raise Fenced(self.reason)
        if run_id != self._run_id:
            self.close("Redis restarted or was replaced and is not verified yet")
            raise Fenced(self.reason)
