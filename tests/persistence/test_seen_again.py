"""Events that are seen again together with what comes after them: only what is new of it is applied."""

from __future__ import annotations

import pytest

from engine.refusals import Refused
from persistence.flush import drain_once
from tests.system import System

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_each_way")]


@pytest.mark.parametrize("by_copy", [False, True])
async def test_a_hold_that_is_seen_again_together_with_its_ending_ends(system: System, *, by_copy: bool) -> None:
    await system.create("A", 1_000)
    made = [(await system.hold("A")).hold.token for _ in range(150 if by_copy else 4)]
    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 1_000)
        await system.shard.commit(made[0], None, "order-7")
        await system.shard.release(made[1])
        extended = await system.shard.extend(made[2], 900)
        assert not isinstance(extended, Refused)
        await connection.execute("UPDATE flush_offsets SET seq = 0")
        await drain_once(connection, system.raw, system.keys, 1_000)
        rows = await connection.fetch("SELECT * FROM holds")
    found = {row["id"].removeprefix("hold_"): row for row in rows}
    assert [found[token]["status"] for token in made[:4]] == ["committed", "released", "held", "held"]
    assert found[made[0]]["reference"] == "order-7"
    assert found[made[2]]["expires_at"] == extended.hold.expires_ms
    assert (await system.audit()).is_clean


async def test_a_hold_that_is_seen_again_without_what_came_after_it_stays_as_it_was(system: System) -> None:
    await system.create("A", 10)
    ended, extended = (await system.hold("A")).hold.token, (await system.hold("A")).hold.token
    await system.shard.commit(ended)
    longer = await system.shard.extend(extended, 900)
    assert not isinstance(longer, Refused)
    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 1_000)
        await connection.execute("UPDATE flush_offsets SET seq = 0")
        await drain_once(connection, system.raw, system.keys, 3)
        rows = {row["id"]: row for row in await connection.fetch("SELECT * FROM holds")}
    assert rows[f"hold_{ended}"]["status"] == "committed"
    assert rows[f"hold_{extended}"]["expires_at"] == longer.hold.expires_ms
