"""What a shard makes of a Redis that fails: an outage is Unavailable, a fault of ours is not dressed up as one."""

from __future__ import annotations

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
