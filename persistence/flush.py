"""The flush: events of a shard's log become rows of PostgreSQL, exactly once, in order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

import asyncpg
import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from engine.errors import HoldfastError
from engine.events import MAX_AT_MS, Entry, Event, LogGap, OrderChanged, Poison, entries_after
from engine.keys import Keys
from persistence.changes import Changes, MissingRow
from persistence.pool import Connection
from persistence.sql import columns, queries

log = logging.getLogger(__name__)

MAX_ENTRIES_PER_READ = 32
MIN_COPIED_EVENTS = 100
"""Fewer are inserted: a COPY asks for the table's columns each time."""

POISONOUS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, MissingRow, OverflowError)
"""What an event raises that can never be applied; anything else is a fault of the moment and is tried again."""

MEMORY_COLUMNS = ("shard", "token", "memory", "at")


class Offset(Struct, frozen=True):
    """The place in a shard's log up to which PostgreSQL has applied it."""

    epoch: int
    seq: int


class Drained(Struct, frozen=True):
    """One transaction of the flush: where it got to, how many events it took, how many of them were set aside."""

    offset: Offset
    events: int
    quarantined: int


async def read_offset(connection: Connection, shard: int) -> Offset | None:
    """The stored offset, None before the first one."""
    row = await connection.fetchrow(queries("flush")["read_offset"], shard)
    return None if row is None else Offset(row["epoch"], row["seq"])


async def drain_once(connection: Connection, redis: Redis, keys: Keys, max_events: int) -> Drained:
    """Apply the next events, at most about `max_events`, in one transaction, and store the new offset with them.

    The offset's row is locked from the read to the commit, so two drainers cannot apply the same events, and one that
    was stopped in between finds its transaction gone. Trimming the log is the caller's next step. Raises LogGap when
    events are missing.
    """
    sql = queries("flush")
    async with connection.transaction():
        row = await connection.fetchrow(sql["lock_offset"], keys.shard)
        if row is None:
            raise HoldfastError("the shard has no offset: the fence was never verified")
        offset = Offset(row["epoch"], row["seq"])
        entries = await _next_entries(redis, keys, offset, max_events)
        if not entries:
            return Drained(offset, 0, 0)
        quarantined = await _apply_entries(connection, keys.shard, entries)
        fresh = Offset(offset.epoch, entries[-1].last_seq)
        place = (keys.shard, offset.epoch, offset.seq, fresh.seq)
        await connection.execute(sql["step_offset"], *place, _changed_since_ms(entries))
    return Drained(fresh, fresh.seq - offset.seq, quarantined)


async def _next_entries(redis: Redis, keys: Keys, offset: Offset, max_events: int) -> list[Entry]:
    taken: list[Entry] = []
    seq, count = offset.seq, 0
    while count < max_events:
        entries = await entries_after(redis, keys, offset.epoch, seq, MAX_ENTRIES_PER_READ)
        for entry in entries:
            expected = seq + 1
            if entry.epoch != offset.epoch or (entry.first_seq or expected) != expected:
                if taken:
                    return taken  # as far as the log is whole; the next one to ask hears of the gap
                found = f"{entry.epoch}-{entry.first_seq}"
                where = f"shard {keys.shard} expected event {offset.epoch}-{expected}, found {found}"
                raise LogGap(f"events are missing in the log: {where}")
            taken.append(entry)
            count += entry.last_seq - seq
            seq = entry.last_seq
            if count >= max_events:
                break
        if len(entries) < MAX_ENTRIES_PER_READ:
            break
    return taken


def _changed_since_ms(entries: Sequence[Entry]) -> int:
    """The earliest time that any record of these entries carries; 0 where one of them cannot be read.

    An order's is when it was judged, a little before its event.
    """
    judged = (
        event.body.record.updated_ms
        for entry in entries
        for event in entry.events
        if event.kind == "order" and isinstance(event, Event) and isinstance(event.body, OrderChanged)
    )
    return max(0, min(MAX_AT_MS, *(entry.at_ms for entry in entries), *judged))


async def _apply_entries(connection: Connection, shard: int, entries: Sequence[Entry]) -> int:
    events = [event for entry in entries for event in entry.events if isinstance(event, Event)]
    poison = [event for entry in entries for event in entry.events if not isinstance(event, Event)]
    poison += await apply_events(connection, shard, events)
    sql = queries("flush")
    for event in poison:
        place = (shard, event.epoch, event.seq, event.at_ms)
        told = (_storable(text) for text in (event.kind, event.payload, event.reason))
        await connection.execute(sql["insert_poison"], *place, *told)
    await write_memories(connection, shard, entries)
    return len(poison)


async def write_memories(connection: Connection, shard: int, entries: Sequence[Entry]) -> None:
    """Answers of keyed operations that entries tell of; one that is there gives way."""
    of_token = {token: (shard, token, memory, entry.at_ms) for entry in entries for token, memory in entry.memories}
    memories = list(of_token.values())
    if not memories:
        return
    if len(memories) >= MIN_COPIED_EVENTS:
        with suppress(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.copy_records_to_table("operation_memories", records=memories, columns=MEMORY_COLUMNS)
            return
    await connection.execute(queries("flush")["insert_memories"], *columns(memories))


async def apply_events(connection: Connection, shard: int, events: Sequence[Event]) -> list[Poison]:
    """Apply events within the caller's transaction; returns those that cannot be, of which nothing was applied."""
    if len(events) >= MIN_COPIED_EVENTS:
        try:
            async with connection.transaction():
                await Changes(shard, events).write(connection, by_copy=True)
        except POISONOUS:
            log.warning("a run of %d events is not all new, or not all sound: each is judged for itself", len(events))
        else:
            return []
    return await _insert_events(connection, shard, events)


async def _insert_events(connection: Connection, shard: int, events: Sequence[Event]) -> list[Poison]:
    """Where a run of events fails it is halved until the failing ones stand alone, so the others are not held up."""
    if not events:
        return []
    try:
        async with connection.transaction():
            await Changes(shard, events).write(connection)
    except POISONOUS as error:
        if len(events) == 1:
            return [_poison(events[0], error)]
        middle = len(events) // 2
        first = await _insert_events(connection, shard, events[:middle])
        return first + await _insert_events(connection, shard, events[middle:])
    return []


def _storable(text: str) -> str:
    """The text without what PostgreSQL cannot store."""
    return text.replace("\x00", "\\u0000").encode(errors="backslashreplace").decode()


def _poison(event: Event, error: Exception) -> Poison:
    payload = msgspec.json.encode(event.body).decode()
    return Poison(event.epoch, event.seq, event.at_ms, event.kind, payload, f"{type(error).__name__}: {error}")
