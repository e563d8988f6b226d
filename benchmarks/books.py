"""The books: what the file says must have happened to each SKU, held against what API and PostgreSQL say did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from benchmarks.baskets import SALES
from benchmarks.order_lines import Kind, OrderLine
from benchmarks.orders import Order


class Counts(Struct, frozen=True):
    """Units of one SKU, by where they are."""

    available: int = 0
    reserved: int = 0
    sold: int = 0

    @property
    def received(self) -> int:
        return self.available + self.reserved + self.sold

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.available + other.available, self.reserved + other.reserved, self.sold + other.sold)


class Movement(Struct, frozen=True):
    """Units that one reference moved of one SKU: received from outside (below 0: written off), and sold."""

    received: int = 0
    sold: int = 0


Entry = tuple[str, str]
"""A reference (an invoice, or the run that stocked up) and a SKU."""


class Evidence(Struct, frozen=True):
    """What the system says: counts before and after by SKU, and what the ledger tells of this run.

    `ledger` is the sum of all its rows by SKU; `repeated` are SKUs with an event that is there twice. `orders` are what
    the carts of this run became, by PostgreSQL.
    """

    before: Mapping[str, Counts]
    api: Mapping[str, Counts]
    database: Mapping[str, Counts]
    ledger: Mapping[str, Counts]
    entries: Mapping[Entry, Movement]
    repeated: tuple[str, ...] = ()
    quarantined: int = 0
    orders: tuple[Order, ...] = ()


def file_entries(lines: Iterable[OrderLine]) -> dict[Entry, Movement]:
    """What each invoice moves, from the rows alone: neither the plan of the replay nor any answer plays a part."""
    entries: dict[Entry, Movement] = {}
    for line in lines:
        old = entries.get((line.invoice, line.sku), Movement())
        received = old.received + (line.units if line.kind is Kind.RETURN else 0)
        received -= line.units if line.kind is Kind.WRITE_OFF else 0
        sold = old.sold + (line.units if line.kind in SALES else 0)
        entries[line.invoice, line.sku] = Movement(received, sold)
    return entries


def stocking_entries(run: str, lines: Iterable[OrderLine]) -> dict[Entry, Movement]:
    """What is stocked up for the run: as many units of each SKU as the rows sell or write off."""
    entries: dict[Entry, Movement] = {}
    for line in lines:
        units = 0 if line.kind is Kind.RETURN else line.units
        entries[run, line.sku] = Movement(received=entries.get((run, line.sku), Movement()).received + units)
    return entries


def expected_counts(before: Mapping[str, Counts], entries: Mapping[Entry, Movement]) -> dict[str, Counts]:
    """The counts that each SKU of `entries` must end with."""
    expected = {sku: before.get(sku, Counts()) for _, sku in entries}
    for (_, sku), moved in entries.items():
        expected[sku] += Counts(available=moved.received - moved.sold, sold=moved.sold)
    return expected


def audit(entries: Mapping[Entry, Movement], said: Evidence) -> Iterator[str]:
    """Every mismatch, one sentence each; none means that the books balance."""
    for sku, expected in sorted(expected_counts(said.before, entries).items()):
        for witness, counts in (("API", said.api), ("PostgreSQL", said.database), ("ledger", said.ledger)):
            found = counts.get(sku)
            if found is None:
                yield f"{sku}: unknown to {witness}"
            elif found != expected:
                yield f"{sku}: {witness} says {_text(found)}, the file {_text(expected)}"
            elif min(found.available, found.reserved, found.sold) < 0:
                yield f"{sku}: {witness} has a count below 0: {_text(found)}"
    moved = {entry: movement for entry, movement in said.entries.items() if movement != Movement()}
    told = {entry: movement for entry, movement in entries.items() if movement != Movement()}
    for reference, sku in sorted(told.keys() | moved.keys()):
        want, found_entry = told.get((reference, sku), Movement()), moved.get((reference, sku), Movement())
        if want != found_entry:
            yield (
                f"{sku}: {reference} moved {found_entry.received:+} received, {found_entry.sold} sold in the ledger, "
                f"{want.received:+} and {want.sold} in the file"
            )
    for sku in said.repeated:
        yield f"{sku}: the ledger has an event twice"
    if said.quarantined:
        yield f"{said.quarantined} events of this run are in quarantine"


def _text(counts: Counts) -> str:
    return f"{counts.available} available, {counts.reserved} reserved, {counts.sold} sold"
