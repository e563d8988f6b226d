"""Entries in the log that no script wrote."""

from __future__ import annotations

from typing import Any

from tests.system import System


async def forge(system: System, entry_id: str, **told: str) -> None:
    """An entry that no script wrote, and the log's end moved behind it."""
    fields: dict[Any, Any] = {**told}
    await system.raw.xadd(system.keys.events, fields, id=entry_id)
    await system.raw.hset(system.keys.meta, "seq", entry_id.split("-")[1])


async def lose_second(system: System) -> None:
    """A log of a SKU and two holds, of which the first is missing."""
    await system.create("A", 10)
    await system.hold("A")
    await system.hold("A")
    entries: Any = await system.raw.xrange(system.keys.events)
    await system.raw.xdel(system.keys.events, entries[1][0])


async def spoil_last(system: System) -> str:
    """Make the last entry one that nobody can apply; returns its events as they were."""
    entries: Any = await system.raw.xrange(system.keys.events)
    *before, (last_id, told) = entries
    await system.raw.delete(system.keys.events)
    for entry_id, fields in [*before, (last_id, {**told, "events": "[[]]"})]:
        await system.raw.xadd(system.keys.events, fields, id=entry_id)
    return str(told["events"])
