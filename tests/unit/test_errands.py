"""Errands: coroutines without a task of their own, which no error of theirs takes anybody along."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

from engine.errands import Errand, in_task

pytestmark = pytest.mark.anyio

BROKE_OFF = "an errand broke off"


async def turns(count: int = 5) -> None:
    """Let the event loop come round."""
    for _ in range(count):
        await asyncio.sleep(0)


def start(coroutine: Coroutine[Any, Any, None]) -> None:
    """As a callback of the event loop would: outside of any task."""
    asyncio.get_running_loop().call_soon(Errand(coroutine).step)


async def test_an_errand_has_no_task_and_goes_on_when_what_it_waits_for_is_done() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[object] = []

    async def errand() -> None:
        seen.append(asyncio.current_task())
        seen.append(await future)

    start(errand())
    await turns()
    assert seen == [None]
    future.set_result("done")
    await turns()
    assert seen == [None, "done"]


async def test_an_errand_that_lets_others_go_first_goes_on_in_the_next_turn() -> None:
    seen: list[str] = []

    async def errand() -> None:
        seen.append("begun")
        await asyncio.sleep(0)
        seen.append("ended")

    start(errand())
    await turns()
    assert seen == ["begun", "ended"]


async def test_what_an_awaited_future_raises_is_raised_in_the_errand() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def errand() -> None:
        try:
            await future
        except ValueError as error:
            seen.append(str(error))

    start(errand())
    await turns()
    future.set_exception(ValueError("told"))
    await turns()
    assert seen == ["told"]


@pytest.mark.parametrize("is_adopted", [False, True])
async def test_an_errand_that_breaks_off_is_told_in_the_log_and_harms_nobody_who_started_it(
    caplog: pytest.LogCaptureFixture, *, is_adopted: bool
) -> None:
    async def errand() -> None:
        if is_adopted:
            await in_task()
        raise ValueError

    with caplog.at_level(logging.ERROR, "holdfast.errands"):
        Errand(errand()).step()
        start(errand())
        await turns()
    assert [record.message for record in caplog.records] == [BROKE_OFF] * 2


async def test_an_interrupt_ends_more_than_the_errand() -> None:
    async def errand() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Errand(errand()).step()


async def test_an_errand_that_asks_for_a_task_has_one_from_then_on_and_only_one() -> None:
    seen: list[object] = []

    async def errand() -> None:
        await in_task()
        seen.append(asyncio.current_task())
        await in_task()
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    start(errand())
    await turns()
    assert len(seen) == 2
    assert seen[0] is not None
    assert seen[0] is seen[1]


async def test_who_has_a_task_keeps_it() -> None:
    task = asyncio.current_task()
    await in_task()
    assert asyncio.current_task() is task


async def test_an_errand_with_a_task_is_kept_while_it_waits_though_nobody_else_knows_of_it() -> None:
    waiting: list[weakref.ref[asyncio.Future[None]]] = []
    seen: list[str] = []

    async def errand() -> None:
        await in_task()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(weakref.ref(future))
        await future
        seen.append("done")

    start(errand())
    await turns()
    gc.collect()
    found = waiting[0]()
    assert found is not None
    found.set_result(None)
    await turns()
    assert seen == ["done"]
