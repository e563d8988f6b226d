"""Sold out: what was just refused for want of stock is looked at before a script is asked to reserve it.

In a drop nearly everybody is refused. A look refuses them by reading only: no script, nothing logged, nothing synced.
What is remembered here only says where a look is worth it: the refusal is what Redis has at that moment, and anything
that the script might answer otherwise is left to the script. Only the high-water mark is not looked at: past it the
script would turn away what is refused here.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from engine.holds import Line, Reserve
from engine.keys import Keys
from engine.lanes import Lane
from engine.reader import clock_ms, first_score
from engine.refusals import Refusal, Refused, Shortfall
from engine.settings import Settings
from engine.stock import level_of_row

RECENT_S = 1.0
MAX_REMEMBERED = 2_000

Lines: TypeAlias = tuple[Line, ...]
ReadAll: TypeAlias = Callable[..., Awaitable[list[Any]]]


class SoldOut:
    """Knows which lines were short lately, and looks whether they still are. `read_all` answers commands in order."""

    def __init__(
        self, settings: Settings, keys: Keys, read_all: ReadAll, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._read_all = read_all
        self._clock = clock
        self._recent: dict[Lines, float] = {}
        self._looks: Lane[Reserve, Refused | None] = Lane.of(settings, self._look)

    async def close(self) -> None:
        """Wait for the looks on the wire."""
        await self._looks.close()

    def note(self, lines: Lines) -> None:
        """These lines were short just now."""
        if len(self._recent) >= MAX_REMEMBERED:
            self._recent.clear()
        self._recent[lines] = self._clock() + RECENT_S

    def is_likely(self, lines: Lines) -> bool:
        """Whether these lines were short so lately that a look is worth it."""
        until = self._recent.get(lines) if self._recent else None
        return until is not None and self._clock() <= until

    async def look(self, request: Reserve) -> Refused | None:
        """The refusal that a reserve would get now; None where only the script can tell. Raises Unavailable."""
        refused = await self._looks.submit(request)
        if refused is None:
            self._recent.pop(request.lines, None)
        return refused

    async def _look(self, requests: list[Reserve]) -> list[Refused | None]:
        keys = self._keys
        skus = list({line.sku: None for request in requests for line in request.lines})
        names = [keys.hold_prefix + token for request in requests for token in (request.token, *request.also)]
        clock, earliest, rows, records = await self._read_all(
            ("TIME",),
            ("ZRANGE", keys.deadlines, 0, 0, "WITHSCORES"),
            ("HMGET", keys.stock, *skus),
            # Last: a hold that was made before the stock was looked at is seen, and is no refusal but a replay.
            ("MGET", *names),
        )
        if earliest and first_score(earliest) <= clock_ms(clock):
            return [None] * len(requests)  # units are due to come back
        left = {sku: level_of_row(sku, row).available for sku, row in zip(skus, rows, strict=True) if row is not None}
        shortages = {lines: _shortage(lines, left) for lines in {request.lines for request in requests}}
        found, start = [], 0
        for request in requests:
            end = start + 1 + len(request.also)
            is_known = any(records[start:end])
            found.append(None if is_known else shortages[request.lines])
            start = end
        return found


def _shortage(lines: Lines, left: dict[str, int]) -> Refused | None:
    if any(line.sku not in left for line in lines):
        return None
    short = tuple(
        Shortfall(line.sku, line.quantity, left[line.sku]) for line in lines if left[line.sku] < line.quantity
    )
    return Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=short) if short else None
