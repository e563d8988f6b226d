"""Lanes: while one batch of a verb is on the wire, the next operations collect; no timer, everything bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from engine.errands import Errand
from engine.errors import Unavailable
from engine.settings import Settings

Op = TypeVar("Op")
Answer = TypeVar("Answer")

WORTH_A_BATCH = 32
"""Operations for which a batch leaves beside another on the wire: by itself it costs as much as some 30 of them."""

Observer = Callable[[str, int, float], None]
"""Told of each batch that was answered: its verb, how many operations, and the seconds that it took."""

_Waiting: TypeAlias = tuple[Sequence[Op], asyncio.Future[Any], bool]
"""Operations, the future of their answer, and whether that is a list of answers: they came together."""


class Lane(Generic[Op, Answer]):
    """Collects operations and sends them in batches, few of them on the wire at once.

    At low load a batch is one operation and nothing waits; under load batches grow by themselves: what comes while
    one is on the wire waits for it, or until it is worth a batch of its own. `send` gets the operations in order and
    answers them in order. A caller that goes away harms nobody: its operation is dropped if it was not sent yet,
    otherwise its answer is.
    """

    def __init__(
        self,
        send: Callable[[list[Op]], Awaitable[Sequence[Answer]]],
        *,
        max_batch: int,
        max_pending: int,
        in_flight: int,
    ) -> None:
        self._send = send
        self._max_batch = max_batch
        self._max_pending = max_pending
        self._in_flight = in_flight
        self._worth_one = min(WORTH_A_BATCH, max_batch)
        self._free = in_flight
        self._waiting: deque[_Waiting[Op]] = deque()
        self._waiting_count = 0
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._landed: asyncio.Future[None] | None = None

    @classmethod
    def of(
        cls, settings: Settings, send: Callable[[list[Op]], Awaitable[Sequence[Answer]]], most: int | None = None
    ) -> Lane[Op, Answer]:
        """A lane with the settings' bounds, and of at most `most` operations in a batch where that is told."""
        return cls(
            send,
            max_batch=settings.max_batch if most is None else min(most, settings.max_batch),
            max_pending=settings.max_pending,
            in_flight=settings.batches_in_flight,
        )

    @property
    def waiting(self) -> int:
        """Operations not yet on the wire."""
        return self._waiting_count

    def submit(self, operation: Op) -> asyncio.Future[Answer]:
        """Send one operation with the next batch and await its answer. Raises Unavailable when too many wait."""
        return self._enqueue((operation,), together=False)

    def submit_together(self, operations: Sequence[Op]) -> asyncio.Future[list[Answer]]:
        """Send these in one batch, neither split nor reordered, whatever its size; their answers are awaited."""
        return self._enqueue(operations, together=True)

    def _enqueue(self, operations: Sequence[Op], *, together: bool) -> asyncio.Future[Any]:
        if self._waiting_count and self._waiting_count + len(operations) > self._max_pending:
            raise Unavailable(f"more than {self._max_pending} operations are waiting")
        loop = self._loop
        if loop is None:  # asked for once, since asking is a system call
            loop = self._loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((operations, future, together))
        self._waiting_count += len(operations)
        if not self._woken:
            self._wake(loop)
        return future

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send soon, not at once: what else arrives in this turn of the event loop shall ride along."""
        if self._waiting and not self._woken and self._may_send():
            self._woken = True
            loop.call_soon(self._dispatch)

    def _may_send(self) -> bool:
        if self._free == self._in_flight:
            return True
        return self._free > 0 and self._waiting_count >= self._worth_one

    async def close(self) -> None:
        """Wait for everything on the wire; what still waits is refused."""
        while self._free < self._in_flight:
            if self._landed is None or self._landed.done():
                self._landed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._landed)
        for _, future, _ in self._waiting:
            if not future.done():
                future.set_exception(Unavailable("shutting down"))
        self._waiting.clear()
        self._waiting_count = 0

    def _dispatch(self) -> None:
        self._woken = False
        while self._may_send():
            batch = self._take()
            if not batch:
                return
            self._free -= 1
            Errand(self._deliver(batch)).step()

    def _take(self) -> list[_Waiting[Op]]:
        if self._waiting_count <= self._max_batch:  # as nearly always: all of them go
            everyone = [waiting for waiting in self._waiting if not waiting[1].done()]
            self._waiting.clear()
            self._waiting_count = 0
            return everyone
        batch: list[_Waiting[Op]] = []
        size = 0
        while self._waiting:
            waiting = self._waiting[0]
            count = len(waiting[0])
            if batch and size + count > self._max_batch:
                break
            self._waiting.popleft()
            self._waiting_count -= count
            if not waiting[1].done():
                batch.append(waiting)
                size += count
        return batch

    async def _deliver(self, batch: list[_Waiting[Op]]) -> None:
        try:
            answers = await self._send([operation for operations, _, _ in batch for operation in operations])
            start = 0
            for operations, future, together in batch:
                end = start + len(operations)
                if not future.done():
                    future.set_result(list(answers[start:end]) if together else answers[start])
                start = end
        except asyncio.CancelledError:
            for _, future, _ in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, every caller of the batch must hear of it
            for _, future, _ in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            self._free += 1
            if self._loop is not None and self._loop.is_running():  # else it ended with the batch on the wire
                self._wake(self._loop)  # before who closes looks again: what waits is on the wire by then
                if self._landed is not None and not self._landed.done():
                    self._landed.set_result(None)
