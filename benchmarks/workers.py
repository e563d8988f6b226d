"""A few things at once: items start in order, and those that share a turn never overlap."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


async def in_order(
    items: Iterable[Item],
    serve: Callable[[Item], Awaitable[None]],
    workers: int,
    turn_of: Callable[[Item], str | None] = lambda _: None,
) -> None:
    """Serve every item, starting in order, at most `workers` at once; the first exception ends it.

    Items of one turn are served one after the other, in order, while others go on; None shares no turn.
    """
    waiting = iter(items)
    behind: dict[str, deque[Item]] = {}

    async def work() -> None:
        for item in waiting:
            turn = turn_of(item)
            if turn is None:
                await serve(item)
            elif turn in behind:
                behind[turn].append(item)
            else:
                behind[turn] = deque([item])
                while behind[turn]:
                    await serve(behind[turn].popleft())
                del behind[turn]

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
