"""Verification: a Redis process is compared with PostgreSQL, and mended if behind, before anyone reserves on it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.connection import connect, reason_of
from engine.errors import HoldfastError, Unavailable
from engine.fence import Fence
from engine.keys import Keys
from engine.restore import NO_EVICTION, Meta, Restorer
from engine.sentinel_url import is_of_sentinels
from engine.settings import Settings
from persistence.audit import refuse_contradiction
from persistence.flush import read_offset
from persistence.pool import FAULTS, Connection, Pool
from persistence.rebuild import GivenUp, Rebuilt, rebuild_shard
from persistence.repair import mend_shard
from persistence.sql import queries

log = logging.getLogger(__name__)

Verdict = Literal["verified", "initialised", "advanced", "repaired", "rebuilt"]
"""`verified` is as it was left; `advanced` lacks nothing but goes on in a new epoch; the last two were mended."""

NOTHING = GivenUp()
AT_WORK = "another process is verifying or mending Redis"


async def verify(settings: Settings, pool: Pool, fence: Fence, keys: Keys | None = None) -> Verdict:
    """Compare the Redis that `settings` names with PostgreSQL's offset, mend what is behind, and open the fence.

    Redis ahead is normal. Redis behind gets the ledger's tail, Redis empty or half rebuilt is rebuilt, and where a
    replica took over a new epoch begins, so that nothing of the server that it followed is applied any more. Raises
    Unavailable, and leaves the fence closed, when one of the two is out of reach, when another process or one that
    may mend has to do it first, or when only an operator can tell what is true.
    """
    keys = keys or Keys()
    redis = connect(settings)
    try:
        async with redis.client() as client, _shard_lock(pool, keys, fence.explain):
            run_id = await _run_id(client)
            verdict = await _judge(settings, pool, client, keys, fence.explain)
            meta = await Restorer(client, keys).meta()
            if meta.epoch is None or await _run_id(client) != run_id:
                raise Unavailable("Redis changed while it was being verified")
            fence.open(run_id, meta.epoch)
            return verdict
    except RedisError as error:
        raise Unavailable(f"Redis is unavailable: {reason_of(error)} (see HOLDFAST_REDIS_URL)") from error
    except asyncpg.UndefinedTableError as error:
        raise Unavailable("the database is not migrated: run holdfast migrate") from error
    except (*FAULTS, asyncpg.PostgresError) as error:
        why = str(error) or "it does not answer"
        raise Unavailable(f"PostgreSQL is unavailable: {why} (see HOLDFAST_DATABASE_URL)") from error
    except HoldfastError as error:
        raise error if isinstance(error, Unavailable) else Unavailable(str(error)) from error
    finally:
        await redis.aclose()


@asynccontextmanager
async def _shard_lock(pool: Pool, keys: Keys, explain: Callable[[str], None]) -> AsyncIterator[None]:
    """Only this process verifies or mends the shard; `explain` is told when it has to wait for another one.

    Raises Unavailable when that takes longer than the pool lets a statement wait for a lock: a rebuild may.
    """
    sql = queries("rebuild")
    async with pool.acquire() as connection:
        if not await connection.fetchval(sql["try_lock_shard"], keys.shard):
            explain(AT_WORK)
            try:
                await connection.execute(sql["lock_shard"], keys.shard)
            except asyncpg.LockNotAvailableError as error:
                raise Unavailable(f"{AT_WORK}: {error}") from error
        try:
            yield
        finally:
            if not connection.is_closed():
                await connection.execute(sql["unlock_shard"], keys.shard)


async def rebuild(settings: Settings, pool: Pool, keys: Keys | None = None, given_up: GivenUp = NOTHING) -> Rebuilt:
    """Rebuild Redis from PostgreSQL whatever it holds, after applying what its log still holds beyond the offset.

    What events changed that are set aside, or missing in the log, a Redis in their epoch has and PostgreSQL has not:
    units that they sold would be sold again. So with any of them nothing is rebuilt, unless they are given up. Nor is
    it from counts that contradict their ledger. Every process that reserves notices the new epoch and verifies it for
    itself. Raises Unavailable or LogGap.
    """
    keys = keys or Keys()
    redis = connect(settings)
    try:
        async with (
            redis.client() as client,
            _shard_lock(pool, keys, lambda _: None),
            pool.acquire() as connection,
        ):
            await _refuse_foreign(connection, await Restorer(client, keys).meta())
            await refuse_contradiction(connection)
            rebuilt = await rebuild_shard(connection, client, keys, settings, given_up)
            if given_up.quarantined:
                await connection.execute(queries("quarantine")["give_up"], keys.shard, rebuilt.epoch)
            return rebuilt
    except RedisError as error:
        raise Unavailable(f"Redis is unavailable: {reason_of(error)} (see HOLDFAST_REDIS_URL)") from error
    finally:
        await redis.aclose()


async def _refuse_foreign(connection: Connection, meta: Meta) -> str:
    installation: str = await connection.fetchval(queries("rebuild")["read_installation"])
    if meta.installation not in (None, installation):
        raise Unavailable(
            "this Redis belongs to another database: point HOLDFAST_REDIS_URL and HOLDFAST_DATABASE_URL at a pair"
        )
    return installation


async def _refuse_reader(connection: Connection, keys: Keys, what: str) -> None:
    """Raise Unavailable where this process may only read the offset, before it says that it mends (decision 15)."""
    try:
        await connection.execute(queries("flush")["lock_offset"], keys.shard)
    except asyncpg.InsufficientPrivilegeError as error:
        raise Unavailable(f"Redis waits for a worker to {what}: {error}") from error


async def _run_id(client: Redis) -> str:
    return str((await client.info("server"))["run_id"])


async def _judge(settings: Settings, pool: Pool, client: Redis, keys: Keys, explain: Callable[[str], None]) -> Verdict:
    restorer = Restorer(client, keys)
    server = await restorer.server()
    if server.role != "master":
        raise Unavailable("this Redis is a replica: point HOLDFAST_REDIS_URL at its master, or at its Sentinels")
    if server.eviction != NO_EVICTION:
        raise Unavailable(
            f"this Redis would forget holds and counts when its memory is full (maxmemory-policy {server.eviction}): "
            f"set it to {NO_EVICTION}"
        )
    if not server.has_file:
        log.warning("Redis keeps no append-only file, so what PostgreSQL lacks is lost with it: set appendonly yes")
    async with pool.acquire() as connection:
        # A drainer may still hold events that it read from a Redis that has lost them since.
        await connection.execute(queries("repair")["await_drainers"], keys.shard)
        # A flush may run between these readings: what Redis let go of is read before PostgreSQL's offset, and how far
        # its log goes after it, so that neither side looks as if it were behind.
        let_go = await restorer.meta()
        offset = await read_offset(connection, keys.shard)
        meta = await restorer.meta()
        installation = await _refuse_foreign(connection, meta)
        if offset is None:
            return await _begin(connection, restorer, keys, meta, installation, server.run_id)
        if meta.epoch is not None and meta.epoch > offset.epoch:
            raise Unavailable(
                f"PostgreSQL is behind Redis by an epoch ({offset.epoch} after {meta.epoch}): it was restored from a "
                "backup; restore Redis from the same time, or empty it, and the ledger decides"
            )
        if let_go.epoch == meta.epoch == offset.epoch and let_go.flushed > offset.seq:
            raise Unavailable(
                f"PostgreSQL has events up to {offset.epoch}-{offset.seq} only, but Redis let go of those up to "
                f"{let_go.epoch}-{let_go.flushed}, so PostgreSQL was put back to an earlier time: put its newest copy "
                "back, or empty Redis to go on from what PostgreSQL knows"
            )
        if meta.epoch != offset.epoch:
            await _refuse_reader(connection, keys, "mend it")
            explain("Redis is being rebuilt from PostgreSQL")
            await rebuild_shard(connection, client, keys, settings)
            return "rebuilt"
        # Once it restarts, a server no longer tells that it took over; where Sentinels watch, any may have.
        may_have_taken_over = server.took_over or is_of_sentinels(settings.require_redis_url())
        if meta.seq < offset.seq or (may_have_taken_over and meta.run_id != server.run_id):
            await _refuse_reader(connection, keys, "mend it")
            return await mend_shard(connection, client, keys, settings, explain)
        return "verified"


async def _begin(
    connection: Connection, restorer: Restorer, keys: Keys, meta: Meta, installation: str, run_id: str
) -> Verdict:
    if meta.epoch is None:
        await _refuse_reader(connection, keys, "set it up")
        if not await restorer.is_empty():
            raise Unavailable(
                "PostgreSQL is empty, but this Redis holds a shard without its record: empty it, or point "
                "HOLDFAST_DATABASE_URL at the database that belongs to it"
            )
        await connection.execute(queries("flush")["insert_offset"], keys.shard, 1, 0)
        await restorer.open(1, installation, run_id)
        return "initialised"
    if meta.flushed > 0:
        raise Unavailable(
            "PostgreSQL is empty, but this Redis has already let go of events that were flushed elsewhere: "
            "point HOLDFAST_DATABASE_URL at the database that belongs to it"
        )
    await _refuse_reader(connection, keys, "set it up")
    await connection.execute(queries("flush")["insert_offset"], keys.shard, meta.epoch, 0)
    return "verified"
