"""The promises, checked from the outside after a load: what was put in, what was answered, what both sides say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
from msgspec import Struct, field

from benchmarks.books import Counts
from benchmarks.queries import read_queries

MAX_TOLD = 10
SQL = Path(__file__).with_name("books.sql")


class Group(Struct):
    """SKUs that are loaded together.

    `granted` and `sold` are units that clients were told they have; `unheard` those of requests that were cut off when
    a load ended, which may have been granted without anybody hearing of it. With `may_expire` they are given back.
    """

    units: dict[str, int] = field(default_factory=dict)
    granted: int = 0
    sold: int = 0
    unheard: int = 0
    may_expire: bool = False


class Stored(Struct, frozen=True):
    """What PostgreSQL says: counts, units received, and what is wrong with it."""

    levels: Mapping[str, Counts]
    received: Mapping[str, int]
    wrong: tuple[str, ...] = ()


class Books:
    """What the harness did to one system."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}

    def receive(self, name: str, units: Mapping[str, int]) -> None:
        """These SKUs were made with so many units."""
        self.groups.setdefault(name, Group()).units.update(units)

    def note(self, name: str, *, granted: int, sold: int = 0, unheard: int = 0) -> None:
        """A load on a group ended."""
        group = self.groups[name]
        group.granted += granted
        group.sold += sold
        group.unheard += unheard

    def judge(self, api: Mapping[str, Counts], stored: Stored) -> list[str]:
        """Every broken promise, one sentence each, the first ten of them; none is as it must be."""
        broken = [*stored.wrong, *self._judge_skus(api, stored), *self._judge_groups(api)]
        return broken[:MAX_TOLD] + ([f"and {len(broken) - MAX_TOLD} more"] if len(broken) > MAX_TOLD else [])

    def _judge_skus(self, api: Mapping[str, Counts], stored: Stored) -> Iterator[str]:
        received = {sku: units for group in self.groups.values() for sku, units in group.units.items()}
        for sku in sorted(api.keys() | stored.levels.keys() | received.keys()):
            ours, theirs = api.get(sku), stored.levels.get(sku)
            if ours is None or theirs is None or ours != theirs:
                yield f"{sku}: the API says {ours}, PostgreSQL {theirs}"
                continue
            if min(ours.available, ours.reserved, ours.sold) < 0:
                yield f"{sku}: a count is below 0: {ours}"
            if not ours.received == stored.received.get(sku) == received.get(sku):
                yield (
                    f"{sku}: {received.get(sku)} units were put in, available + reserved + sold are {ours.received}, "
                    f"PostgreSQL received {stored.received.get(sku)}"
                )

    def _judge_groups(self, api: Mapping[str, Counts]) -> Iterator[str]:
        for name, group in self.groups.items():
            there = sum((api[sku] for sku in group.units if sku in api), Counts())
            taken, most = there.reserved + there.sold, group.granted + group.unheard
            if taken < group.granted and not group.may_expire:
                yield f"{name}: {group.granted} units were granted, only {taken} are reserved or sold"
            if taken > most:
                yield f"{name}: {taken} units are reserved or sold, at most {most} were granted"
            if not group.sold <= there.sold <= group.sold + group.unheard:
                yield f"{name}: {group.sold} units were paid for, {there.sold} are sold"


def read_stored(database_url: str) -> Stored:
    """PostgreSQL's side of the books, all of one moment."""
    return asyncio.run(_read_stored(database_url))


async def _read_stored(database_url: str) -> Stored:
    sql = read_queries(SQL)
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(sql["levels"])
            wrong = [
                f"{row['sku']}: not the sum of its ledger" for row in await connection.fetch(sql["against_ledger"])
            ]
            wrong += [f"{row['sku']}: not the sum of its holds" for row in await connection.fetch(sql["against_holds"])]
            if quarantined := await connection.fetchval(sql["quarantined"]):
                wrong.append(f"{quarantined} events are in quarantine")
    finally:
        await connection.close()
    levels = {row["sku"]: Counts(row["available"], row["reserved"], row["sold"]) for row in rows}
    return Stored(levels, {row["sku"]: row["received"] for row in rows}, tuple(wrong))
