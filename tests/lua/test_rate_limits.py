"""Rate limits as Redis judges them: never more than the limit, all processes together, by Redis' own clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from api.access.rate_limits import limits_of
from engine import rate_limits
from engine.idempotency import derive_token
from engine.keys import Keys
from engine.pipe import Command, Pipe
from engine.rate_limits import Policy, RateLimiter, Standing
from engine.scripts import Script
from engine.settings import Settings

pytestmark = pytest.mark.anyio

SLOW = Policy("key", 1, 5)
FAST = Policy("customer", 50, 10)


@pytest.fixture
async def limiter(redis: Redis, kind: str, settings: Settings) -> AsyncIterator[RateLimiter]:
    opened = limiter_on(redis, kind, settings)
    yield opened
    await opened.close()


def limiter_on(redis: Redis | Pipe, kind: str, settings: Settings, **options: Any) -> RateLimiter:
    script = Script("limit", with_flags=kind == "real", with_prelude=False)
    return RateLimiter(redis if isinstance(redis, Pipe) else Pipe(redis), Keys(), settings, script=script, **options)


def key_of(policy: Policy, subject: str) -> str:
    return Keys().limit(derive_token("limit", policy.name, subject))


async def charge(limiter: RateLimiter, policy: Policy, subject: str = "ada", units: int = 1) -> Standing:
    found = await limiter.charge(policy, {subject: units})
    assert found is not None
    return found


async def test_a_burst_passes_and_what_is_left_counts_down(limiter: RateLimiter) -> None:
    standings = [await charge(limiter, SLOW) for _ in range(6)]
    assert [standing.is_allowed for standing in standings] == [True] * 5 + [False]
    assert [standing.remaining for standing in standings] == [4, 3, 2, 1, 0, 0]
    assert {standing.wait_s for standing in standings} == {1}
    assert all(0 < standing.wait_us <= 1_000_000 for standing in standings)


async def test_what_was_refused_passes_after_its_wait_and_not_before(limiter: RateLimiter) -> None:
    for _ in range(FAST.burst):
        assert (await charge(limiter, FAST)).is_allowed
    while (refused := await charge(limiter, FAST)).is_allowed:
        pass
    assert 0 < refused.wait_us <= 1_000_000 / FAST.per_s
    await asyncio.sleep(refused.wait_us / 1e6)
    assert (await charge(limiter, FAST)).is_allowed


async def test_over_any_time_no_more_pass_than_the_burst_and_the_rate_let(limiter: RateLimiter, redis: Redis) -> None:
    async def clock_s() -> float:
        """The limits' own clock: this process's may be set meanwhile."""
        seconds, micros = await redis.time()
        return float(seconds) + float(micros) / 1e6

    started = await clock_s()
    passed = 0
    while await clock_s() < started + 0.5:
        standings = await asyncio.gather(*(charge(limiter, FAST) for _ in range(20)))
        passed += sum(standing.is_allowed for standing in standings)
    elapsed_s = await clock_s() - started
    assert FAST.burst + 10 <= passed <= FAST.burst + elapsed_s * FAST.per_s + 1


async def test_two_processes_share_a_limit(limiter: RateLimiter, redis: Redis, kind: str, settings: Settings) -> None:
    other = limiter_on(redis, kind, settings)
    standings = await asyncio.gather(*(charge(one, SLOW) for _ in range(10) for one in (limiter, other)))
    assert sum(standing.is_allowed for standing in standings) == SLOW.burst
    await other.close()


async def test_each_key_and_each_customer_has_a_limit_of_its_own(limiter: RateLimiter) -> None:
    while (await charge(limiter, SLOW, "ada")).is_allowed:
        pass
    assert (await charge(limiter, SLOW, "bob")).remaining == SLOW.burst - 1
    assert (await charge(limiter, Policy("customer", 1, 5), "ada")).remaining == SLOW.burst - 1


@pytest.mark.parametrize("units", [{"bob": 3, "ada": 2}, {"ada": 2, "bob": 3}])
async def test_several_are_charged_together_or_not_at_all(limiter: RateLimiter, units: dict[str, int]) -> None:
    assert (await charge(limiter, SLOW, "ada", 4)).remaining == 1
    refused = await limiter.charge(SLOW, units)
    assert refused is not None
    assert (refused.is_allowed, refused.remaining) == (False, 1)
    assert 0 < refused.wait_us <= 1_000_000
    assert (await charge(limiter, SLOW, "bob", 5)).is_allowed
    assert (await charge(limiter, SLOW, "ada", 1)).is_allowed


async def test_each_of_a_row_is_charged_for_itself_in_order(limiter: RateLimiter) -> None:
    found = await limiter.charge_each(SLOW, ["ada"] * 7 + ["bob"])
    assert found is not None
    assert [standing.is_allowed for standing in found] == [True] * 5 + [False] * 2 + [True]


async def test_a_thousand_requests_are_judged_in_few_calls(redis: Redis, kind: str, settings: Settings) -> None:
    calls: list[int] = []
    limiter = limiter_on(redis, kind, settings, observe=lambda _verb, size, _seconds: calls.append(size))
    await asyncio.gather(*(charge(limiter, SLOW, f"s{i}") for i in range(1_000)))
    assert sum(calls) == 1_000
    assert len(calls) <= 1_000 / settings.max_batch + 2
    await limiter.close()


async def test_a_counter_lives_no_longer_than_it_counts_and_names_nobody(limiter: RateLimiter, redis: Redis) -> None:
    await charge(limiter, SLOW, "ada@example.org", 3)
    (key,) = map(str, await redis.keys("*"))
    assert key.startswith("{s0}:limit:")
    assert "ada" not in key
    assert 2_000 < await redis.pttl(key) <= 3_000


@pytest.mark.parametrize("per_s", [3, 7, 11, 12, 999])
async def test_a_rate_that_divides_no_second_lets_its_whole_burst_through(limiter: RateLimiter, per_s: int) -> None:
    policy = Policy("key", per_s, per_s)
    found = await limiter.charge_each(policy, ["ada"] * per_s)
    assert found is not None
    assert [standing.remaining for standing in found] == list(range(per_s - 1, -1, -1))
    assert all(standing.is_allowed for standing in found)


async def test_after_a_clock_stepped_back_nobody_waits_longer_than_a_burst_takes(
    limiter: RateLimiter, redis: Redis
) -> None:
    an_hour_on = str((time.time_ns() // 1_000) + 3_600_000_000)
    await redis.set(key_of(FAST, "ada"), an_hour_on)
    refused = await charge(limiter, FAST)
    assert not refused.is_allowed
    assert refused.wait_us <= 1_000_000 / FAST.per_s
    await asyncio.sleep(refused.wait_us / 1e6)
    assert (await charge(limiter, FAST)).is_allowed


async def test_what_nobody_can_judge_passes(
    redis: Redis, kind: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Pipe):
        async def ask(self, *_: Command) -> list[Any]:
            raise RedisConnectionError("gone")

    class Stalled(Pipe):
        async def ask(self, *_: Command) -> list[Any]:
            await asyncio.sleep(60)
            return []

    monkeypatch.setattr(rate_limits, "ASK_TIMEOUT_S", 0.05)
    for away in (limiter_on(Broken(redis), kind, settings), limiter_on(Stalled(redis), kind, settings)):
        assert await away.charge(SLOW, {"ada": 1}) is None
        assert await away.charge_each(SLOW, ["ada"]) is None
    suspended = limiter_on(redis, kind, settings, is_away=lambda: True)
    assert await suspended.charge(SLOW, {"ada": 1}) is None
    assert await suspended.charge_each(SLOW, ["ada"]) is None
    assert await redis.keys("*") == []


async def test_an_answer_that_came_too_late_is_nobody_elses(
    redis: Redis, kind: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "fakeredis":
        pytest.skip("it cannot be paused")
    monkeypatch.setattr(rate_limits, "ASK_TIMEOUT_S", 0.1)
    limiter = limiter_on(redis, kind, settings)
    await charge(limiter, SLOW, "bob")
    await redis.client_pause(400)
    assert await limiter.charge(SLOW, {"ada": SLOW.burst}) is None
    await asyncio.sleep(0.5)
    standings = [await charge(limiter, SLOW, subject) for subject in ("bob", "carol", "carol")]
    assert [standing.remaining for standing in standings] == [3, 4, 3]
    await limiter.close()


def test_the_window_of_a_limit_is_long_enough_for_its_burst() -> None:
    assert [Policy("key", 3, burst).window_s for burst in (1, 3, 4, 7)] == [1, 1, 2, 3]


@pytest.mark.parametrize("limited", ["rate_limit_key", "rate_limit_customer"])
async def test_one_limit_alone_is_enough_to_be_asked_for(
    limiter: RateLimiter, settings: Settings, limited: str
) -> None:
    assert limits_of(limiter, settings) is None
    assert limits_of(limiter, msgspec.structs.replace(settings, **{limited: 5})) is not None
