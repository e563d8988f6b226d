"""Faults of the engine. Expected refusals are values: see engine/refusals.py."""

from __future__ import annotations


class HoldfastError(Exception):
    """The root of every fault that Holdfast raises."""


class Unavailable(HoldfastError):
    """Nothing can be promised now: Redis is out of reach, unverified or full, or too much work is waiting.

    The outcome of what was on the wire is unknown; asking again with the same idempotency key tells it.
    """

    def __init__(self, reason: str, retry_after_s: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
