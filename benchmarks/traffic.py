"""The replay itself: invoices start in time order, a few at once, each held and committed as its customer would."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from benchmarks.baskets import Invoice
from benchmarks.order_books import Placed
from benchmarks.storefront import Reply, Storefront, UnansweredError
from benchmarks.workers import in_order


class Traffic(Struct):
    """What was asked and answered: counts, units, and how long each kind of request took, in seconds.

    `carts` are those that were opened, with their invoices; `placed` are the orders that were answered.
    """

    baskets: int = 0
    units: Counter[str] = field(
        default_factory=lambda: Counter({"stocked up": 0, "sold": 0, "returned": 0, "written off": 0})
    )
    refusals: Counter[str] = field(default_factory=Counter)
    refused_baskets: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    times_s: dict[str, list[float]] = field(default_factory=lambda: {"hold": [], "commit": [], "adjustment": []})
    elapsed_s: float = 0.0
    carts: dict[str, str] = field(default_factory=dict)
    placed: list[Placed] = field(default_factory=list)


class Replayer:
    """Replays invoices under keys of one run, so that a retry is never a second sale, and a second run is a new one."""

    def __init__(self, storefront: Storefront, run: str) -> None:
        self.run = run
        self.traffic = Traffic()
        self._storefront = storefront

    @property
    def retries(self) -> dict[str, int]:
        """Attempts made again, by what the one before came to."""
        return dict(self._storefront.retries)

    async def stock_up(self, needed: dict[str, int], known: set[str], workers: int, told: Callable[[], None]) -> None:
        """Create what is missing and receive what the run will take. Raises ReplayError or UnansweredError."""

        async def stock(sku: str) -> None:
            if sku not in known:
                await self._storefront.create(sku)
            if needed[sku]:
                reason, key = "stocked up for a replay", f"{self.run}:stock:{sku}"
                reply = await self._storefront.adjust(sku, needed[sku], reason, self.run, key)
                if self._count("stocking up", reply):
                    self.traffic.units["stocked up"] += needed[sku]
            told()

        await in_order(sorted(needed), stock, workers)

    async def replay(
        self, invoices: Sequence[Invoice], workers: int, speed: float | None, told: Callable[[], None]
    ) -> None:
        """Replay all, at most `workers` at once; with `speed` no sooner than their own times, so many times faster."""
        started = time.perf_counter()

        async def serve(invoice: Invoice) -> None:
            if speed is not None:
                due_s = (invoice.at - invoices[0].at).total_seconds() / speed
                await asyncio.sleep(max(0.0, due_s - (time.perf_counter() - started)))
            try:
                await self._serve(invoice)
            except UnansweredError as error:
                self.traffic.unanswered.append(f"{invoice.number}: {error}")
            told()

        await in_order(invoices, serve, workers, self.turn_of)
        self.traffic.elapsed_s = time.perf_counter() - started

    def turn_of(self, invoice: Invoice) -> str | None:  # noqa: ARG002 - for those who need it
        """What invoices share that must not be served at the same time; None shares nothing."""
        return None

    async def _serve(self, invoice: Invoice) -> None:
        if invoice.sold:
            await self._sell(invoice)
        number = invoice.number
        for sku, units in invoice.returned.items():
            await self._adjust(sku, units, "returned", number)
        for sku, units in invoice.written_off.items():
            await self._adjust(sku, -units, "written off", number)

    async def _sell(self, invoice: Invoice) -> None:
        """Hold every part of the basket, then commit them all; if one is refused, give the others back."""
        self.traffic.baskets += 1
        held: list[tuple[str, int]] = []
        for i, part in enumerate(invoice.holds()):
            reply = await self._storefront.hold(
                list(part), invoice.customer_id, f"{self.run}:{invoice.number}:hold:{i}"
            )
            self.traffic.times_s["hold"].append(reply.elapsed_s)
            if not self._count("hold", reply):
                self.traffic.refused_baskets.append(invoice.number)
                for hold_id, _ in held:
                    await self._storefront.release(hold_id)
                return
            held.append((str(reply.body["id"]), sum(units for _, units in part)))
        for i, (hold_id, units) in enumerate(held):
            key = f"{self.run}:{invoice.number}:commit:{i}"
            reply = await self._storefront.commit(hold_id, invoice.number, key)
            self.traffic.times_s["commit"].append(reply.elapsed_s)
            if self._count("commit", reply):
                self.traffic.units["sold"] += units

    async def _adjust(self, sku: str, delta: int, reason: str, invoice: str) -> None:
        key = f"{self.run}:{invoice}:{reason.replace(' ', '-')}:{sku}"
        reply = await self._storefront.adjust(sku, delta, reason, invoice, key)
        self.traffic.times_s["adjustment"].append(reply.elapsed_s)
        if self._count("adjustment", reply):
            self.traffic.units[reason] += abs(delta)

    def _count(self, what: str, reply: Reply) -> bool:
        if reply.is_granted:
            return True
        self.traffic.refusals[f"{what}: {reply.status} {reply.code}"] += 1
        return False
