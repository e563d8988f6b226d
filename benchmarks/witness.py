"""Asks both sides until they agree: the API's counts, and PostgreSQL's once the log is drained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from benchmarks.books import Counts, Evidence
from benchmarks.database import FAULTS, Database, Place, open_database
from benchmarks.storefront import ReplayError, Storefront

POLL_S = 0.25


class Opening(Struct, frozen=True):
    """The books before a run: counts of the SKUs that existed, and the place in the log where the run begins."""

    counts: Mapping[str, Counts]
    places: Sequence[Place]


class Witness:
    """Takes down what API and PostgreSQL say of some SKUs."""

    def __init__(self, storefront: Storefront, database_url: str, skus: Sequence[str], patience_s: float) -> None:
        self._storefront = storefront
        self._database_url = database_url
        self._skus = frozenset(skus)
        self._patience_s = patience_s

    async def open_books(self) -> Opening:
        """The counts before the run. Raises ReplayError when PostgreSQL does not get to where the API is."""
        deadline = time.monotonic() + self._patience_s
        while True:
            api = await self._api_counts()
            try:
                async with open_database(self._database_url, list(self._skus)) as database:
                    if await database.levels() == api:
                        return Opening(api, await database.places())
                reason = "its counts are not those of the API: is the flush worker running, is it the API's database?"
            except FAULTS as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() > deadline:
                raise ReplayError(f"PostgreSQL: {reason}")
            await asyncio.sleep(POLL_S)

    async def close_books(self, opening: Opening, carts: Collection[str] = (), orders: int = 0) -> Evidence:
        """What both say after the run: as soon as they agree, or when the patience is over.

        PostgreSQL agrees when it has so many `orders` of these `carts`, too.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            api = await self._api_counts()
            is_last = time.monotonic() > deadline
            try:
                async with open_database(self._database_url, list(self._skus)) as database:
                    levels, stored = await database.levels(), await database.orders(carts)
                    if is_last or (levels == api and len(stored) >= orders):
                        return replace(await _evidence(database, opening, api, levels), orders=stored)
            except FAULTS as error:
                if is_last:
                    raise ReplayError(f"PostgreSQL: {str(error) or type(error).__name__}") from None
            await asyncio.sleep(POLL_S)

    async def _api_counts(self) -> dict[str, Counts]:
        return {sku: counts for sku, counts in (await self._storefront.stock()).items() if sku in self._skus}


async def _evidence(
    database: Database, opening: Opening, api: dict[str, Counts], levels: dict[str, Counts]
) -> Evidence:
    ledger, repeated = await database.ledger()
    entries = await database.entries(opening.places)
    quarantined = await database.quarantined(opening.places)
    return Evidence(opening.counts, api, levels, ledger, entries, repeated, quarantined)
