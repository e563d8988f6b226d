"""The trader: a plan is tried, and remembered under its idempotency key; one act at a time on one cart or order."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from engine.errors import HoldfastError, Unavailable
from engine.idempotency import Keyed
from engine.memories import recalled
from engine.plans import Answer, Plan
from engine.refusals import Refusal, Refused
from engine.shard import Shard
from engine.trade import Changed, Remember, Replayed, Trade, Traded

MAX_STEP_ASIDE_S = 0.005

T = TypeVar("T")


class Memory(Struct, Generic[T], frozen=True, gc=False):
    """How the answer of one kind of act is remembered under an idempotency key."""

    keyed: Keyed
    decode: Callable[[bytes], T]


class Turn:
    """A turn under a name: it begins when those before it under this name ended. `of_name` has who waits, by names."""

    __slots__ = ("_name", "_of_name")

    def __init__(self, name: str, of_name: dict[str, deque[asyncio.Future[None]]]) -> None:
        self._name = name
        self._of_name = of_name

    async def __aenter__(self) -> None:
        waiting = self._of_name.get(self._name)
        if waiting is None:
            self._of_name[self._name] = deque()
            return
        mine = asyncio.get_running_loop().create_future()
        waiting.append(mine)
        try:
            await mine
        except BaseException:
            if not mine.cancel() and not mine.cancelled():
                self._end()  # it had begun just now
            raise

    async def __aexit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        waiting = self._of_name[self._name]
        while waiting:
            following = waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        del self._of_name[self._name]


class Trader:
    """Brings plans to the shard."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._turns: dict[str, deque[asyncio.Future[None]]] = {}

    async def as_it_is(self, value: T, memory: Memory[T] | None) -> Answer[T] | Refused:
        """What stays as it was; remembered all the same, so that its retry is answered the same.

        Only in Redis: without an event nothing travels to PostgreSQL, and after a rebuild it is judged again, which is
        safe, since it changes nothing.
        """
        done = None if memory is None else await self.attempt(Plan(Trade(), value), memory)
        return Answer(value) if done is None else done

    async def attempt(self, plan: Plan[T], memory: Memory[T] | None) -> Answer[T] | Refused | None:
        """The answer of the first plan that is not refused, or the last refusal; None when it must be judged again."""
        trade = plan.trade
        if memory is not None:
            remember = Remember(memory.keyed.token, memory.keyed.fingerprint, msgspec.json.encode(plan.answer))
            trade = msgspec.structs.replace(trade, remember=remember)
        outcome = await self._shard.trade(trade)
        match outcome:
            case Traded():
                return Answer(plan.answer)
            case Replayed():
                if memory is None:
                    raise HoldfastError("a trade without a key was answered from a memory")
                return Answer(memory.decode(recalled(outcome.memory)[1]), replayed=True)
            case Changed():
                # Two processes in step would let the same one win every time.
                await asyncio.sleep(random.random() * MAX_STEP_ASIDE_S)
                return None
            case Refused():
                return outcome if plan.otherwise is None else await self.attempt(plan.otherwise, memory)

    def turn(self, name: str) -> Turn:
        """One act at a time on one cart or order in this process, so that they do not undo each other's judgements."""
        return Turn(name, self._turns)


def memory_of(keyed: Keyed | None, decode: Callable[[bytes], T]) -> Memory[T] | None:
    return None if keyed is None else Memory(keyed, decode)


def replay(memory: Memory[T], text: str | None) -> Answer[T] | Refused | None:
    if text is None:
        return None
    fingerprint, answer = recalled(text)
    if fingerprint != memory.keyed.fingerprint:
        return Refused(Refusal.KEY_REUSED)
    return Answer(memory.decode(answer), replayed=True)


def too_contended() -> Unavailable:
    return Unavailable("too many change the same cart or order at once")
