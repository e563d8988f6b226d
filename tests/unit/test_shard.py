"""What a shard makes of a Redis that fails: an outage is Unavailable, a fault of ours is not dressed up as one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import (
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from engine.errors import Unavailable
from engine.fence import Fence, Fenced
from engine.holds import HoldAnswer, Line, Reserve
from engine.refusals import Refused
from engine.scripts import Script, load_scripts
from engine.settings import Settings
from engine.shard import Shard

pytestmark = pytest.mark.anyio


class BrokenScript(Script):
    """A script whose server answers with an error, or with what the test says."""

    answer: Any

    async def run(self, redis: Any, keys: list[str], argument: bytes) -> Any:  # noqa: ARG002 - the interface
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def shard_that_hears(answer: Any) -> Shard:
    fence = Fence()
    fence.open("run-1", 1)
    scripts: dict[str, Script] = {verb: BrokenScript(verb) for verb in load_scripts()}
    for script in scripts.values():
        assert isinstance(script, BrokenScript)
        script.answer = answer
    return Shard(Redis(), fence, Settings(), scripts=scripts)


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("refused"),
        RedisTimeoutError("late"),
        BusyLoadingError("LOADING"),
        OutOfMemoryError("full"),
        ReadOnlyError("a replica"),
        Fenced("restarted"),
        ResponseError("MISCONF the append-only file cannot be written"),
        ResponseError("NOREPLICAS not enough"),
        ResponseError("CLUSTERDOWN"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}",
)
async def test_an_outage_is_unavailable_and_names_its_cause(error: RedisError) -> None:
    with pytest.raises(Unavailable, match=str(error)):
        await shard_that_hears(error).release("t")


@pytest.mark.parametrize("error", [ResponseError("ERR our script is wrong"), NoPermissionError("no")])
async def test_a_fault_that_waiting_does_not_mend_stays_what_it_is(error: RedisError) -> None:
    with pytest.raises(type(error)):
        await shard_that_hears(error).release("t")


class DueScript(Script):
    """A server on which something comes due again and again: it judges only whoever says that it swept."""

    async def run(self, redis: Any, keys: list[str], argument: bytes) -> Any:  # noqa: ARG002 - the interface
        asked, _, _, _, ((_, _, swept, *_),) = msgspec.json.decode(argument)[3]
        return [5_000, asked, *((2, "held", 65_000) if swept else (1, "due"))]


async def test_a_caller_that_swept_says_so_and_is_not_sent_to_sweep_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_that_hears(None)
    shard._scripts["reserve"] = DueScript("reserve")
    swept: list[int] = []

    async def sweep(until_ms: int) -> None:
        swept.append(until_ms)

    monkeypatch.setattr(shard, "_sweep", sweep)
    answers = await shard.reserve_group([Reserve(f"t{i}", "f", None, 60_000, (Line("A", 1),)) for i in range(3)])
    assert all(isinstance(answer, HoldAnswer) for answer in answers)
    assert swept == [5_000]


async def test_a_fenced_answer_closes_the_fence_and_nothing_more_is_sent() -> None:
    shard = shard_that_hears([5, "fenced"])
    with pytest.raises(Unavailable, match="another epoch"):
        await shard.release("t")
    assert not shard.fence.is_open
    with pytest.raises(Unavailable, match="another epoch"):
        await shard.stock("A")


async def test_with_a_closed_fence_nothing_reaches_redis() -> None:
    shard = shard_that_hears(AssertionError("it was sent"))
    shard.fence.close("not now")
    for work in (shard.release("t"), shard.commit("t"), shard.extend("t", 5), shard.stock("A"), shard.hold("t")):
        with pytest.raises(Unavailable, match="not now"):
            await work


async def test_a_suspended_shard_answers_at_once_that_nothing_can_be_promised() -> None:
    shard = shard_that_hears(AssertionError("asked all the same"))
    shard.suspended = "Redis does not answer"
    for work in (shard.release("t"), shard.stock("A"), shard.hold("t")):
        with pytest.raises(Unavailable, match="Redis does not answer"):
            await work


async def test_while_redis_is_nearly_full_only_reserves_are_turned_away() -> None:
    shard = shard_that_hears([5, 1, 1, "hold-expired"])
    shard.turned_away = "Redis is nearly out of memory"
    with pytest.raises(Unavailable, match="nearly out of memory"):
        await shard.reserve(Reserve("t", "f", None, 60_000, (Line("A", 1),)))
    assert isinstance(await shard.commit("t"), Refused)


class FencedLater(Script):
    """A server that is at another epoch, and says so only once this shard was verified anew."""

    def __init__(self, verb: str, fence: Fence) -> None:
        super().__init__(verb)
        self._fence = fence

    async def run(self, redis: Any, keys: list[str], argument: bytes) -> Any:  # noqa: ARG002 - the interface
        self._fence.open("run-1", 2)
        return [5, "fenced"]


async def test_a_fenced_answer_to_an_earlier_epoch_leaves_the_fence_open() -> None:
    shard = shard_that_hears(None)
    shard._scripts["release"] = FencedLater("release", shard.fence)
    with pytest.raises(Unavailable, match="another epoch"):
        await shard.release("t")
    assert shard.fence.is_open


async def test_the_epoch_is_read_behind_what_it_vouches_for() -> None:
    shard = shard_that_hears(None)
    asked: list[tuple[Any, ...]] = []

    async def ask(*commands: tuple[Any, ...]) -> list[Any]:
        asked.extend(commands)
        return [None, (1, 0), "1"]

    shard.pipe.ask = ask  # type: ignore[method-assign]
    assert await shard.hold("t") is None
    assert asked[-1] == ("HGET", shard.keys.meta, "epoch")


class MarkReached(Script):
    """A server that finds something due for the first of three, makes the others, and is full by then."""

    async def run(self, redis: Any, keys: list[str], argument: bytes) -> Any:  # noqa: ARG002 - the interface
        asked = msgspec.json.decode(argument)[3][0]
        return [5_000, *((1, 1, "backlog") if asked == 1 else (1, 1, "due", asked - 1, 2, "held", 65_000))]


async def test_holds_that_were_made_are_told_although_the_mark_was_reached_before_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shard = shard_that_hears(None)
    shard._scripts["reserve"] = MarkReached("reserve")

    async def sweep(_until_ms: int) -> None:
        """Nothing comes back."""

    monkeypatch.setattr(shard, "_sweep", sweep)
    first, *others = await shard.reserve_group([Reserve(f"t{i}", "f", None, 60_000, (Line("A", 1),)) for i in range(3)])
    assert isinstance(first, Unavailable)
    assert all(isinstance(answer, HoldAnswer) for answer in others)


async def test_who_asks_during_a_sweep_for_a_later_moment_shares_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_that_hears(None)
    swept: list[int] = []
    may_end = asyncio.Event()

    async def sweep_until(until_ms: int) -> None:
        swept.append(until_ms)
        await may_end.wait()

    monkeypatch.setattr(shard, "_sweep_until", sweep_until)
    callers = [asyncio.ensure_future(shard._sweep(until_ms)) for until_ms in (5, 3, 7, 6, 9)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert swept == [5]
    may_end.set()
    await asyncio.gather(*callers)
    assert swept == [5, 9]
    await shard._sweep(4)
    assert swept == [5, 9, 4]


async def test_a_sweep_that_failed_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_that_hears(None)
    swept: list[int] = []

    async def sweep_until(until_ms: int) -> None:
        swept.append(until_ms)
        if len(swept) == 1:
            raise Unavailable("away")

    monkeypatch.setattr(shard, "_sweep_until", sweep_until)
    with pytest.raises(Unavailable, match="away"):
        await shard._sweep(5)
    await shard._sweep(5)
    assert swept == [5, 5]


async def test_a_shard_that_closes_leaves_no_sweep_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shard_that_hears(None)
    monkeypatch.setattr(shard, "_sweep_until", lambda _until_ms: asyncio.Event().wait())
    caller = asyncio.ensure_future(shard._sweep(5))
    await asyncio.sleep(0)
    await shard.close()
    with pytest.raises(Unavailable, match="shutting down"):
        await caller
