"""Faults of Redis: emptied, put back, its file cut, its scripts and connections gone, its memory full."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from tests.faults.acts import commit, reserve
from tests.faults.stage import Stage

MAX_CUT_BYTES = 6_000
MEMORY_FULL_S = 2.0
COMMITS_WITHOUT_MEMORY = 10


async def wipe(stage: Stage) -> None:
    """With everything flushed, so that nothing may be lost."""
    await stage.quiet()
    async with stage.site.redis() as redis:
        await redis.flushall()
    stage.load.resume()


async def wipe_under_load(stage: Stage) -> None:
    """In mid-load: what PostgreSQL has not heard of is gone, and only that."""
    async with stage.site.redis() as redis:
        await redis.flushall()
    await stage.lost()


async def restore_older_file(stage: Stage) -> None:
    """The append-only file as it was some seconds ago, in mid-load: PostgreSQL is ahead."""
    older = stage.system.data_dir / "older"
    shutil.copytree(_file_dir(stage), older)
    try:
        await asyncio.sleep(stage.dice.uniform(2, 5))
        async with stage.system.down("redis"):
            await stage.lost()
            shutil.rmtree(_file_dir(stage))
            shutil.copytree(older, _file_dir(stage))
    finally:
        shutil.rmtree(older)


async def cut_file(stage: Stage) -> None:
    """The file's last bytes are missing; with everything flushed, so that nothing may be lost."""
    await stage.quiet()
    async with stage.system.down("redis"):
        _cut(stage)
    stage.load.resume()


async def cut_file_under_load(stage: Stage) -> None:
    """The same in mid-load: what PostgreSQL has not heard of may be gone."""
    async with stage.system.down("redis"):
        await stage.lost()
        _cut(stage)


async def forget_scripts(stage: Stage) -> None:
    async with stage.site.redis() as redis:
        for _ in range(5):
            await redis.script_flush()
            await asyncio.sleep(0.1)


async def kill_connections(stage: Stage) -> None:
    """Every client's, three times."""
    async with stage.site.redis() as redis:
        for _ in range(3):
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
            await asyncio.sleep(0.2)


async def fill_memory(stage: Stage) -> None:
    """No memory for anything new, then enough again; what was held can be bought all the while."""
    held = [await stage.asker.ask(reserve(stage)) for _ in range(COMMITS_WITHOUT_MEMORY)]
    async with stage.site.redis() as redis:
        used = int((await redis.info("memory"))["used_memory"])
        await redis.config_set("maxmemory", used)
        try:
            await asyncio.sleep(MEMORY_FULL_S)
            for operation in held:
                if operation.granted is not None:
                    answer = (await commit(stage, operation)).attempts[-1].answer
                    sold = answer is not None and answer.is_granted
                    stage.expect(sold, f"without memory a commit was answered {answer}")
        finally:
            await redis.config_set("maxmemory", 0)


def _file_dir(stage: Stage) -> Path:
    return stage.system.data_dir / "redis" / "appendonlydir"


def _cut(stage: Stage) -> None:
    file = max(_file_dir(stage).glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
    size = file.stat().st_size
    os.truncate(file, max(0, size - stage.dice.randint(1, MAX_CUT_BYTES)))
