"""Redis' file cut within its last entries: whatever is missing, PostgreSQL gives it back."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from cli.embedded import EmbeddedRedis
from engine.settings import Settings
from tests.shop import CATALOGUE, checkout, fill_cart, stock_up
from tests.system import System, open_system

pytestmark = pytest.mark.anyio

CUT_BYTES = 4_000
STEP_BYTES = int(os.environ.get("HOLDFAST_TEST_CUT_STEP", "97"))
"""1 cuts at every byte, which takes some minutes."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def redis_server(servers_dir: Path) -> Iterator[EmbeddedRedis]:
    """A server of the test's own, which can be made to read its file again."""
    server = EmbeddedRedis(servers_dir / "cut", options={"enable-debug-command": "yes"})
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.mark.timeout(1_200)
async def test_a_file_cut_anywhere_in_its_last_entries_is_mended_from_postgresql(
    redis_server: EmbeddedRedis, clean_database_url: str
) -> None:
    settings = Settings(redis_url=redis_server.url, database_url=clean_database_url)
    async with open_system(settings) as system:
        await sell_something(system)
        before = await everything(system)
        file = next(redis_server.data_dir.glob("appendonlydir/*.incr.aof"))
        whole = file.read_bytes()
        epoch, seq = await system.pool.fetchrow("SELECT epoch, seq FROM flush_offsets") or (0, 0)
        verdicts: Counter[str] = Counter()
        for size in range(len(whole) - CUT_BYTES, len(whole) + 1, STEP_BYTES):
            await system.pool.execute("UPDATE flush_offsets SET epoch = $1, seq = $2", epoch, seq)
            file.write_bytes(whole[:size])
            with suppress(ResponseError):  # its way to say that it read a file that was cut
                await system.raw.execute_command("DEBUG", "LOADAOF")  # type: ignore[no-untyped-call]
            verdicts[await system.verify()] += 1
            assert await everything(system) == before, size
            found = await system.audit()
            assert found.is_clean, (size, found)
        assert verdicts["repaired"] > 0, verdicts
        assert verdicts["verified"] > 0, verdicts


async def sell_something(system: System) -> None:
    """Some of everything that the log tells of, all of it flushed."""
    await stock_up(system)
    held = [await system.hold("MUG", customer="c") for _ in range(6)]
    await system.flush()
    await system.shard.commit(held[0].hold.token)
    await system.shard.release(held[1].hold.token)
    await system.shard.extend(held[2].hold.token, 900)
    for is_pending in (False, True):
        cart = await fill_cart(system, {"SHIRT-L": 2, "LIMITED": 1}, customer=f"k{is_pending}")
        await system.desk.check_out(CATALOGUE, cart, checkout(is_pending=is_pending))
    await asyncio.gather(*(system.hold("LIMITED", customer=f"c{i}") for i in range(3)))
    await system.flush()


async def everything(system: System) -> dict[str, Any]:
    """What a shopper can be told: not the log, which a Redis that was mended begins anew."""
    return {key: held for key, held in (await system.in_redis()).items() if key != system.keys.events}
