"""Random histories on the real servers, each answer checked against the oracle, and the books at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from engine.connection import connect as connect_redis
from engine.errors import Unavailable
from engine.fence import Fence
from engine.holds import HoldAnswer, Line, Reserve, sum_lines
from engine.idempotency import Keyed
from engine.keys import Keys
from engine.refusals import Refused
from engine.settings import Settings
from engine.stock import Adjust, StockAnswer
from persistence.flush import drain_once
from persistence.pool import connect as connect_database
from tests.model.clock import ClockedShard
from tests.model.oracle import Answer, Oracle
from tests.system import System

T = TypeVar("T")

SKUS = ("A", "B", "LIMITED", "NEVER")
TABLES = "stock_levels, stock_ledger, holds, operation_memories, flush_quarantine, flush_offsets"

skus = st.sampled_from(("A", "A", "A", "A", "B", "B", "LIMITED", "LIMITED", "LIMITED", "NEVER"))
lines = st.lists(st.tuples(skus, st.sampled_from([1, 1, 1, 2, 3])), min_size=1, max_size=3)
customers = st.sampled_from([None, "bob", "eve"])
ttls = st.integers(1, 120).map(lambda seconds: seconds * 1000)
keys = st.sampled_from([None, None, None, "k1", "k2", "k3", "k4"])
fingerprints = st.sampled_from(["f", "f", "f", "g"])
tokens = st.integers(1, 20).map(lambda number: f"hold-{number}")
picks = st.integers(0, 1_000)


class Histories(RuleBasedStateMachine):
    """All verbs, keys that come again, a clock that jumps, flushes that are cut short, Redis that is wiped."""

    server: Settings

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.start_ms = int(time.time() * 1000)
        self.oracle = Oracle(self.start_ms, self.server.max_hold_life_s * 1000)
        self.system = self.run(self.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def open(self) -> System:
        settings, names, fence = self.server, Keys(), Fence()
        pool = await connect_database(settings.require_database_url(), 4)
        raw, guarded = connect_redis(settings), connect_redis(settings, fence)
        await raw.flushall()
        await pool.execute(f"TRUNCATE {TABLES} CASCADE")
        system = System(settings, names, pool, raw, fence, ClockedShard(guarded, fence, settings, keys=names))
        await system.verify()
        await self.set_clock(system)
        return system

    async def set_clock(self, system: System) -> None:
        assert isinstance(system.shard, ClockedShard)
        await system.shard.set_clock(self.oracle.now_ms)

    def pick(self, number: int) -> str:
        """A hold that was made, the latest the likeliest; now and then one that never was."""
        made = [token for token in self.oracle.claims if token.startswith("hold-")]
        return made[-1 - number % min(len(made), 4)] if made and number % 25 else "hold-never"

    @initialize(available=st.integers(0, 30), limit=st.integers(1, 5))
    def stock_up(self, available: int, limit: int) -> None:
        for sku, units, customer_limit in (("A", available, None), ("B", 3, None), ("LIMITED", 12, limit)):
            request = Adjust(f"new-{sku}", "", sku, units, "created", create=True, customer_limit=customer_limit)
            answer = self.run(self.system.shard.adjust(request))
            assert stock_answer(answer) == self.oracle.create(sku, units, customer_limit)

    @rule(token=tokens, fingerprint=fingerprints, customer=customers, ttl_ms=ttls, wanted=lines)
    def reserve(
        self, token: str, fingerprint: str, customer: str | None, ttl_ms: int, wanted: list[tuple[str, int]]
    ) -> None:
        request = Reserve(token, fingerprint, customer, ttl_ms, summed(wanted))
        answer = self.run(self.system.shard.reserve(request))
        expected = self.oracle.reserve(token, fingerprint, customer, ttl_ms, flat(request.lines))
        assert reserve_answer(answer) == expected

    @rule(
        number=st.integers(1, 3),
        fingerprint=fingerprints,
        wanted=st.lists(st.tuples(customers, ttls, lines), min_size=1, max_size=5),
    )
    def reserve_group(
        self, number: int, fingerprint: str, wanted: list[tuple[str | None, int, list[tuple[str, int]]]]
    ) -> None:
        group = f"group-{number}-{len(wanted)}"
        # The fingerprint of a batch covers its content, so it changes with it.
        mark = f"{fingerprint}-{wanted}"
        requests = [
            Reserve(f"{group}-{i}", mark, customer, ttl_ms, summed(each), (), group, i)
            for i, (customer, ttl_ms, each) in enumerate(wanted, 1)
        ]
        answers = self.run(self.system.shard.reserve_group(requests))
        told = [(request.token, request.customer_id, request.ttl_ms, flat(request.lines)) for request in requests]
        assert [reserve_answer(answer) for answer in answers] == self.oracle.reserve_group(group, mark, told)

    @rule(
        pick=picks, verb=st.sampled_from(["commit", "commit", "commit", "release"]), key=keys, fingerprint=fingerprints
    )
    def settle(self, pick: int, verb: str, key: str | None, fingerprint: str) -> None:
        token = self.pick(pick)
        if verb == "release":
            assert settle_answer(self.run(self.system.shard.release(token))) == self.oracle.release(token)
            return
        mark = f"{fingerprint}-{token}"
        keyed = None if key is None else Keyed(f"commit-{key}", mark)
        answer = self.run(self.system.shard.commit(token, keyed))
        assert settle_answer(answer) == self.oracle.commit(token, keyed.token if keyed else None, mark)

    @rule(pick=picks, ttl_ms=ttls, key=keys, fingerprint=fingerprints)
    def extend(self, pick: int, ttl_ms: int, key: str | None, fingerprint: str) -> None:
        token = self.pick(pick)
        mark = f"{fingerprint}-{token}-{ttl_ms}"
        keyed = None if key is None else Keyed(f"extend-{key}", mark)
        answer = self.run(self.system.shard.extend(token, ttl_ms // 1000, keyed))
        assert settle_answer(answer) == self.oracle.extend(token, ttl_ms, keyed.token if keyed else None, mark)

    @rule(sku=skus, delta=st.integers(-5, 5).filter(bool), key=st.sampled_from(["a1", "a2", "a3"]), mark=fingerprints)
    def adjust(self, sku: str, delta: int, key: str, mark: str) -> None:
        fingerprint = f"{mark}-{sku}-{delta}"
        answer = self.run(self.system.shard.adjust(Adjust(key, fingerprint, sku, delta, "counted")))
        assert stock_answer(answer) == self.oracle.adjust(key, fingerprint, sku, delta)

    @rule(wanted=st.lists(st.tuples(customers, lines), min_size=2, max_size=8))
    def many_at_once(self, wanted: list[tuple[str | None, list[tuple[str, int]]]]) -> None:
        """In one turn of the loop, so in one batch: judged one by one, in order."""
        first = len(self.oracle.claims)
        requests = [
            Reserve(f"many-{first}-{i}", "f", customer, 60_000, summed(each))
            for i, (customer, each) in enumerate(wanted)
        ]
        # A batch judges all before anything due is reclaimed; without due holds it is the same as one by one.
        self.run(self.do_meanwhile("expire"))
        # Who is looked at passes by those in the batch: only without looks is the order told.
        self.system.shard._sold_out._recent.clear()

        async def together() -> list[HoldAnswer | Refused]:
            return await asyncio.gather(*(self.system.shard.reserve(request) for request in requests))

        answers = self.run(together())
        for request, answer in zip(requests, answers, strict=True):
            told = (request.token, "f", request.customer_id, 60_000, flat(request.lines))
            assert reserve_answer(answer) == self.oracle.reserve(*told)

    @rule(seconds=st.sampled_from([1, 1, 20, 130, 3000]), pick=picks)
    def time_passes(self, seconds: int, pick: int) -> None:
        token = self.pick(pick)
        self.oracle.now_ms += seconds * 1000
        self.run(self.set_clock(self.system))
        hold = self.run(self.system.shard.hold(token))
        assert (hold and hold.status) == self.oracle.status(token)

    @rule(kind=st.sampled_from(["expire", "flush", "cut short", "scripts forgotten", "wiped"]))
    def meanwhile(self, kind: str) -> None:
        self.run(self.do_meanwhile(kind))

    async def do_meanwhile(self, kind: str) -> None:
        system = self.system
        match kind:
            case "expire":
                assert await system.shard.expire_due() == self.oracle.expire_due()
            case "flush":
                await system.flush()
            case "cut short":
                # A worker that was killed between its COMMIT and its trim.
                async with system.pool.acquire() as connection:
                    await drain_once(connection, system.raw, system.keys, 3)
            case "scripts forgotten":
                await system.raw.script_flush()
            case "wiped":
                await system.flush()
                await system.raw.flushall()
                assert await system.verify() == "rebuilt"
                await self.set_clock(system)

    @invariant()
    def counts_are_the_oracles(self) -> None:
        levels = self.run(self.system.unswept_stock(list(SKUS)))
        assert levels.keys() == self.oracle.stock.keys()
        for sku, level in levels.items():
            stock = self.oracle.stock[sku]
            counted = (level.available, level.reserved, level.sold, level.received)
            assert counted == (stock.available, stock.reserved, stock.sold, stock.received)
            assert level.received == level.available + level.reserved + level.sold
            assert min(counted) >= 0

    def teardown(self) -> None:
        self.run(self.close())
        self.loop.close()

    async def close(self) -> None:
        await self.system.flush()
        found = await self.system.audit()
        statuses = {
            row["id"].removeprefix("hold_"): row["status"]
            for row in await self.system.pool.fetch("SELECT id, status FROM holds")
        }
        await self.system.shard.close()
        await self.system.shard.pipe.client.aclose()
        await self.system.raw.aclose()
        await self.system.pool.close()
        assert found.is_clean, found
        assert statuses == {token: claim.status for token, claim in self.oracle.claims.items()}


def summed(wanted: list[tuple[str, int]]) -> tuple[Line, ...]:
    return sum_lines([Line(*line) for line in wanted])


def flat(wanted: tuple[Line, ...]) -> tuple[tuple[str, int], ...]:
    return tuple((line.sku, line.quantity) for line in wanted)


def reserve_answer(answer: HoldAnswer | Refused | Unavailable) -> Answer:
    assert not isinstance(answer, Unavailable)
    if isinstance(answer, Refused):
        return refusal(answer)
    hold = answer.hold
    return ("replayed" if answer.replayed else "held", hold.status.value, hold.created_ms, hold.expires_ms)


def settle_answer(answer: HoldAnswer | Refused) -> Answer:
    if isinstance(answer, Refused):
        return refusal(answer)
    return ("replayed" if answer.replayed else "ok", answer.hold.status.value, answer.hold.expires_ms)


def stock_answer(answer: StockAnswer | Refused) -> Answer:
    if isinstance(answer, Refused):
        return refusal(answer)
    level = answer.level
    return ("replayed" if answer.replayed else "adjusted", level.available, level.reserved, level.sold)


def refusal(answer: Refused) -> Answer:
    code = answer.refusal.value
    if answer.shortfalls:
        return (code, tuple((line.sku, line.requested, line.available) for line in answer.shortfalls))
    if answer.limits:
        return (code, tuple((line.sku, line.requested, line.customer_limit) for line in answer.limits))
    if answer.hold_status:
        return (code, answer.hold_status)
    return (code, *answer.skus)


def test_every_history_is_answered_as_the_oracle_says_and_its_books_balance(
    clean_redis_url: str, clean_database_url: str
) -> None:
    class OnTheseServers(Histories):
        server = Settings(redis_url=clean_redis_url, database_url=clean_database_url)

    run_state_machine_as_test(
        OnTheseServers,
        settings=hypothesis_settings(
            max_examples=36,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
