"""Quarantine: events that could not be applied wait here with their reason, until an operator replays them."""

from __future__ import annotations

from datetime import datetime

import asyncpg
import msgspec
from msgspec import Struct

from engine.events import Entry, Event, Poison, read_entry, read_event
from persistence.flush import apply_events, write_memories
from persistence.moments import ms_of, timestamp_of
from persistence.pool import Pool
from persistence.sql import queries

MAX_LISTED = 1_000
EARLIER = (
    "a new epoch began since then ({epoch}), perhaps without it: replay it with --rebuild, so that Redis has it too"
)


class Quarantined(Struct, frozen=True):
    """An event set aside; `payload` is its JSON, `kind` "entry" where a whole stream entry could not be read."""

    shard: int
    epoch: int
    seq: int
    happened_at: datetime
    kind: str
    payload: str
    reason: str
    at: datetime


class Replay(Struct, frozen=True):
    """What became of a replay: `reason` says why it still cannot be applied, None when it was."""

    events: int
    reason: str | None


async def waiting(pool: Pool, limit: int = MAX_LISTED) -> list[Quarantined]:
    """What is set aside, in the order in which it must be replayed."""
    return [_read(row) for row in await pool.fetch(queries("quarantine")["list_quarantined"], limit)]


async def count(pool: Pool) -> int:
    """How many are set aside."""
    return int(await pool.fetchval(queries("quarantine")["count_quarantined"]) or 0)


async def replay(
    pool: Pool, shard: int, epoch: int, seq: int, payload: str | None = None, *, is_rebuilt: bool = False
) -> Replay | None:
    """Apply one of them now, as it is or with its `payload` mended; None when nothing waits at that place.

    All of it is applied or nothing; the ledger's key keeps what was applied from being applied again. Of an earlier
    epoch than Redis' nobody can tell whether Redis has it, so it is refused unless Redis is rebuilt afterwards.
    """
    sql = queries("quarantine")
    async with pool.acquire() as connection, connection.transaction():
        # As a flush does: nobody else writes to the ledger meanwhile, nor begins an epoch.
        offset = await connection.fetchrow(queries("flush")["lock_offset"], shard)
        row = await connection.fetchrow(sql["lock_quarantined"], shard, epoch, seq)
        if row is None:
            return None
        if not is_rebuilt and offset is not None and epoch < offset["epoch"]:
            return Replay(0, EARLIER.format(epoch=offset["epoch"]))
        entry = _entry(_read(row), payload)
        failed = [event for event in entry.events if isinstance(event, Poison)]
        if not failed:
            events = [event for event in entry.events if isinstance(event, Event)]
            failed = await apply_events(connection, shard, events)
        if failed:
            return Replay(0, failed[0].reason)
        await write_memories(connection, shard, [entry])
        await connection.execute(sql["mark_replayed"], shard, epoch, seq)
        return Replay(len(entry.events), None)


def _entry(item: Quarantined, payload: str | None) -> Entry:
    """What is to be applied: one event, or an entry with all of its events and memories."""
    text = item.payload if payload is None else payload
    at_ms = ms_of(item.happened_at)
    if item.kind != "entry":
        event = read_event(item.epoch, item.seq, at_ms, item.kind, text.encode())
        return Entry(item.epoch, item.seq, item.seq, (event,), (), at_ms)
    try:
        fields = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        poison = Poison(item.epoch, item.seq, 0, "entry", text, str(error))
        return Entry(item.epoch, None, item.seq, (poison,), (), at_ms)
    return read_entry(f"{item.epoch}-{item.seq}", fields)


def _read(row: asyncpg.Record) -> Quarantined:
    return Quarantined(
        row["shard"],
        row["epoch"],
        row["seq"],
        timestamp_of(row["happened_at"]),
        row["kind"],
        row["payload"],
        row["reason"],
        timestamp_of(row["at"]),
    )
