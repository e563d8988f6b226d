"""Entries in the log that no script wrote."""

from __future__ import annotations

from typing import Any

from tests.system import System


async def forge(system: System, entry_id: str, **told: str) -> None:
    """An entry that no script wrote, and the log's end moved behind it."""
    fields: dict[Any, Any] = {**told}
    await system.raw.xadd(system.keys.events, fields, id=entry_id)
    await system.raw.hset(system.keys.meta, "seq", entry_id.split("-")[1])
