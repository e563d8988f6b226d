"""Replicas: what is confirmed by one of them is there when it takes over, and nothing of the old master comes late."""

from __future__ import annotations

import signal

import pytest
from msgspec.structs import replace
from redis.exceptions import ResponseError

from cli.processes import wait_until
from engine.errors import Unavailable
from engine.fence import Fence
from engine.holds import HoldAnswer
from engine.idempotency import Keyed
from engine.scripts import Replicas, Script, replicas_of
from engine.settings import Settings
from persistence import fence as verification
from persistence.flush import Drained, Offset, drain_once
from persistence.pool import connect as connect_database
from tests.failover.servers import Replicated
from tests.system import open_system, reserve

pytestmark = pytest.mark.anyio


async def promote(servers: Replicated) -> None:
    """The replica takes over while the old master lives on and knows nothing of it."""
    assert wait_until(servers.is_in_step, 5)
    servers.replica.ask("REPLICAOF", "NO", "ONE")


async def test_a_commit_that_no_replica_confirms_in_time_is_unavailable_until_one_has_it(
    servers: Replicated, settings: Settings
) -> None:
    settings = replace(settings, commit_replicas=1, replica_timeout_ms=100)
    async with open_system(settings) as system, open_system(settings) as other:
        await system.create("A", 10)
        confirmed = (await system.hold("A", 2)).hold
        assert isinstance(await system.shard.commit(confirmed.token, Keyed("first", "f")), HoldAnswer)
        servers.replica.send(signal.SIGSTOP)
        held = (await system.hold("A", 3)).hold
        for asked in (system, other):  # the other finds it done, and writes nothing that a replica could confirm
            with pytest.raises(
                Unavailable, match="only 0 of 1 replicas confirmed it in time, so it may have happened; ask"
            ):
                await asked.shard.commit(held.token, Keyed("second", "f"))
        servers.replica.send(signal.SIGCONT)
        assert wait_until(servers.is_in_step, 5)
        again = await other.shard.commit(held.token, Keyed("second", "f"))
        assert isinstance(again, HoldAnswer) and again.replayed
        await promote(servers)
    async with open_system(replace(settings, redis_url=servers.replica.url)) as after:
        assert await after.counts("A") == (5, 0, 5)


async def test_a_reserve_waits_for_replicas_only_where_it_is_told_to(settings: Settings) -> None:
    async with open_system(replace(settings, reserve_replicas=2, replica_timeout_ms=50)) as system:
        with pytest.raises(Unavailable, match="1 of 2 replicas"):
            await system.create("A", 10)
        with pytest.raises(Unavailable, match="1 of 2 replicas"):
            await system.shard.reserve(reserve("A", 2, token="derived"))
    async with open_system(replace(settings, commit_replicas=2, replica_timeout_ms=50)) as system:
        again = await system.shard.reserve(reserve("A", 2, token="derived"))
        assert isinstance(again, HoldAnswer) and again.replayed
        with pytest.raises(Unavailable, match="1 of 2 replicas"):
            await system.shard.commit("derived")
        assert await system.counts("A") == (8, 0, 2)


async def test_a_script_that_the_server_forgot_is_sent_again_also_where_replicas_confirm_it(
    servers: Replicated, settings: Settings
) -> None:
    async with open_system(replace(settings, commit_replicas=1)) as system:
        await system.create("A", 10)
        held = (await system.hold("A", 2)).hold
        servers.master.ask("SCRIPT", "FLUSH")
        assert isinstance(await system.shard.commit(held.token), HoldAnswer)
        assert await system.counts("A") == (8, 0, 2)


async def test_what_a_script_raises_is_raised_also_where_replicas_confirm_it(settings: Settings) -> None:
    async with open_system(replace(settings, commit_replicas=1)) as system:
        broken = Script("commit", replicas=Replicas(1, 100))
        broken.replace_text("return redis.error_reply('ERR of the script')")
        with pytest.raises(ResponseError, match="of the script"):
            await broken.run(system.shard.pipe, [system.keys.meta], b"")


def test_what_sells_and_what_promises_units_waits_for_as_many_replicas_as_told_and_never_too_long() -> None:
    told = Settings(commit_replicas=1, reserve_replicas=2, replica_timeout_ms=5_000, redis_timeout_s=2.0)
    selling, promising = Replicas(1, 1_000), Replicas(2, 1_000)
    assert replicas_of(told) == {
        **dict.fromkeys(("commit", "trade"), selling),
        **dict.fromkeys(("reserve", "extend", "release", "adjust"), promising),
    }
    assert replicas_of(replace(told, replica_timeout_ms=80))["commit"].timeout_ms == 80
    assert replicas_of(replace(told, commit_replicas=0, reserve_replicas=0)) == {}


async def test_a_replica_that_took_over_goes_on_in_a_new_epoch_and_nothing_of_the_old_master_is_applied(
    servers: Replicated, settings: Settings
) -> None:
    after = replace(settings, redis_url=servers.replica.url)
    async with open_system(settings) as old:
        await old.create("A", 10)
        await old.hold("A", 1)
        await promote(servers)
        assert await judge(after) == "advanced"
        await old.hold("A", 4)  # acknowledged by a master that is none any more
        async with old.pool.acquire() as connection:
            assert await drain_once(connection, old.raw, old.keys, 100) == Drained(Offset(2, 0), 0, 0)
        async with open_system(after) as new:
            assert new.fence.epoch == 2
            await new.hold("A", 2)
            await new.flush()
            assert (await new.audit()).is_clean
            assert await new.counts("A") == (7, 3, 0)
        assert await judge(after) == "verified"


async def test_a_replica_that_took_over_without_the_last_events_gets_them_from_postgresql(
    servers: Replicated, settings: Settings
) -> None:
    after = replace(settings, redis_url=servers.replica.url)
    async with open_system(settings) as old:
        await old.create("A", 10)
        await old.hold("A", 1)
        await promote(servers)
        held = (await old.hold("A", 4)).hold
        await old.flush()
        assert await judge(after) == "repaired"
    async with open_system(after) as new:
        assert await new.shard.hold(held.token) == held
        assert await new.counts("A") == (5, 5, 0)
        assert (await new.audit()).is_clean


async def test_a_server_that_restarts_goes_on_in_its_epoch_and_under_sentinels_in_a_new_one(
    servers: Replicated, settings: Settings
) -> None:
    servers.watch()
    async with open_system(settings) as system:
        await system.create("A", 10)
    for url, epoch in ((servers.master.url, 1), (servers.url, 2), (servers.master.url, 2)):
        servers.master.kill()
        servers.master.start()
        assert wait_until(lambda: servers.master.told("role") == "master" and servers.is_master_seen(), 5)
        async with open_system(replace(settings, redis_url=url)) as system:
            assert (system.fence.epoch, await system.counts("A")) == (epoch, (10, 0, 0))


async def test_a_replica_is_not_taken_for_a_master(servers: Replicated, settings: Settings) -> None:
    async with open_system(settings) as system:
        await system.create("A", 10)
        assert wait_until(servers.is_in_step, 5)
        with pytest.raises(Unavailable, match="this Redis is a replica"):
            await judge(replace(settings, redis_url=servers.replica.url))


async def judge(settings: Settings) -> verification.Verdict:
    """What a process finds that comes to this Redis for the first time."""
    pool = await connect_database(settings.require_database_url(), 2)
    try:
        return await verification.verify(settings, pool, Fence())
    finally:
        pool.terminate()
