"""An API that answers by a script, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from benchmarks.connections import Answer
from benchmarks.storefront import Storefront

Result = TypeVar("Result")


def answer(status: int, /, **body: Any) -> Answer:
    return Answer(status, msgspec.json.encode(body))


BUSY = answer(503, code="unavailable")
LOST = ConnectionResetError("lost")


class Asked(Struct, frozen=True):
    """A request as the API saw it."""

    method: str
    path: str
    key: str | None
    body: bytes | None


class Scripted:
    """An API that gives these answers, one after the other, and remembers what it was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.asked: list[Asked] = []
        self._answers = iter(answers)

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        self.asked.append(Asked(method, path, headers.get("Idempotency-Key"), body))
        given = next(self._answers)
        if isinstance(given, Exception):
            raise given
        return given


def using(api: Scripted, work: Callable[[Storefront], Coroutine[Any, Any, Result]], patience_s: float = 5.0) -> Result:
    return asyncio.run(work(Storefront(api, patience_s)))
