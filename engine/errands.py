"""Errands: coroutines that start at once, in the callback that brought their request, and have no task of their own.

A task costs about as much as the judging of a hold. Most requests wait for one future, their batch's, and need none.
What must have a task (asyncio's timeouts) asks for it with `in_task`.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Coroutine, Generator
from typing import Any

from msgspec import Struct

log = logging.getLogger("holdfast.errands")

_TASK_PLEASE = object()
_adopted: set[asyncio.Task[None]] = set()


class Errand(Struct, eq=False):
    """One coroutine that is run step by step: each future that it waits for takes the next step when it is done."""

    coroutine: Coroutine[Any, Any, None]

    def step(self, _: object = None) -> None:
        """Go on until the coroutine waits again or ends. It answers for its own errors; others end up in the log."""
        try:
            awaited = self.coroutine.send(None)
        except StopIteration:
            return
        except BaseException as error:
            log.exception("an errand broke off")
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return
        if awaited is _TASK_PLEASE:
            task = asyncio.get_running_loop().create_task(_go_on(self.coroutine))
            _adopted.add(task)
            task.add_done_callback(_adopted.discard)
        elif awaited is None:  # asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(self.step)
        else:
            awaited._asyncio_future_blocking = False  # noqa: SLF001 - the protocol between futures and who runs coroutines
            awaited.add_done_callback(self.step)


async def in_task() -> None:
    """From here on the coroutine has a task, if it had none: asyncio's timeouts need one."""
    if asyncio.current_task() is None:
        await _ask_for_task()


@types.coroutine
def _ask_for_task() -> Generator[object, None, None]:
    yield _TASK_PLEASE


async def _go_on(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        await _rest(coroutine)
    except Exception:
        log.exception("an errand broke off")


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    yield from coroutine
