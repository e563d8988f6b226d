"""`python -m benchmarks.drop`: a whole drop, many shoppers after few units, and afterwards the books."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from benchmarks.books import Counts
from benchmarks.progress import progress
from benchmarks.report import Latency, latency
from benchmarks.storefront import ReplayError, Storefront, UnansweredError, open_storefront
from benchmarks.target import patience_option, required, runtime_of, target_options
from benchmarks.witness import Witness

GRANTED = "held"


class DropReport(Struct, frozen=True):
    """What became of a drop. Latencies are closed-loop: a shopper asks when the one before in its line was answered."""

    sku: str
    units: int
    shoppers: int
    concurrency: int
    answers: dict[str, int]
    elapsed_s: float
    holds_per_s: float
    latency: Latency
    api: Counts
    database: Counts
    ledger: Counts

    @property
    def balances(self) -> bool:
        """Whether exactly what was there was sold, and all accounts agree."""
        sold = min(self.units, self.shoppers)
        expected = Counts(self.units - sold, 0, sold)
        return self.answers.get(GRANTED, 0) == sold and self.api == self.database == self.ledger == expected


@click.command("drop")
@target_options
@click.option("--units", default=1_000, show_default=True, type=click.IntRange(1, 1_000_000), help="What there is.")
@click.option("--shoppers", default=10_000, show_default=True, type=click.IntRange(1, 1_000_000), help="Who want one.")
@click.option("--concurrency", default=64, show_default=True, type=click.IntRange(1, 1_000), help="Shoppers at once.")
@patience_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    *,
    url: str | None,
    database_url: str | None,
    data_dir: Path,
    api_key: str | None,
    units: int,
    shoppers: int,
    concurrency: int,
    patience: float,
    as_json: bool,
) -> None:
    """Open a drop on a new SKU: each shopper asks once for one unit, and whoever gets it pays.

    Exit status 0 only if exactly what was there was sold, and API, PostgreSQL and ledger agree on it.
    """
    runtime = runtime_of(data_dir)
    try:
        api_url = required(url or runtime.get("api_url"), "--url")
        database = required(database_url or runtime.get("database_url"), "--database-url")
        report = asyncio.run(drop(api_url, database, api_key, units, shoppers, concurrency, patience))
    except (ReplayError, UnansweredError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(report), "balances": report.balances}).decode())
    else:
        click.echo(render(report))
    sys.exit(0 if report.balances else 1)


async def drop(
    api_url: str, database_url: str, api_key: str | None, units: int, shoppers: int, concurrency: int, patience_s: float
) -> DropReport:
    """Run one. Raises ReplayError or UnansweredError when it cannot be done at all."""
    sku = f"drop-{secrets.token_hex(6)}"
    async with open_storefront(api_url, api_key=api_key, patience_s=patience_s) as storefront:
        witness = Witness(storefront, database_url, [sku], patience_s)
        opening = await witness.open_books()
        await storefront.create(sku)
        stocked = await storefront.adjust(sku, units, "received", sku, f"{sku}-stock")
        if not stocked.is_granted:
            raise ReplayError(f"the API does not take {units} units of {sku}: {stocked.status} {stocked.code}")
        crowd = Crowd(storefront, sku)
        started = time.perf_counter()
        with progress("the drop is open", shoppers) as advance:
            tickets = iter(range(shoppers))
            await asyncio.gather(*(crowd.queue(tickets, advance) for _ in range(concurrency)))
        elapsed_s = time.perf_counter() - started
        said = await witness.close_books(opening)
    nothing = Counts(0, 0, 0)
    return DropReport(
        sku=sku,
        units=units,
        shoppers=shoppers,
        concurrency=concurrency,
        answers=dict(crowd.answers.most_common()),
        elapsed_s=round(elapsed_s, 3),
        holds_per_s=round(shoppers / elapsed_s, 1),
        latency=latency(crowd.hold_s),
        api=said.api.get(sku, nothing),
        database=said.database.get(sku, nothing),
        ledger=said.ledger.get(sku, nothing),
    )


class Crowd:
    """Shoppers in as many queues as are served at once; each wants one unit, with a key of its own."""

    def __init__(self, storefront: Storefront, sku: str) -> None:
        self._storefront = storefront
        self._sku = sku
        self.answers: Counter[str] = Counter()
        self.hold_s: list[float] = []

    async def queue(self, tickets: Iterator[int], advance: Callable[[], None]) -> None:
        """Serve shoppers one after the other, as long as there are any."""
        for ticket in tickets:
            name = f"{self._sku}-{ticket}"
            held = await self._storefront.hold([(self._sku, 1)], name, name)
            self.hold_s.append(held.elapsed_s)
            if not held.is_granted:
                self.answers[held.code] += 1
            else:
                paid = await self._storefront.commit(held.body["id"], name, f"{name}-pay")
                self.answers[GRANTED if paid.is_granted else f"commit: {paid.code}"] += 1
            advance()


def render(report: DropReport) -> str:
    """The table."""
    out = [
        f"Drop of {report.units:,} units to {report.shoppers:,} shoppers, {report.concurrency} at once ({report.sku})",
        "",
        *(f"{count:>10,}  {answer}" for answer, count in report.answers.items()),
        "",
        f"{report.elapsed_s:>10,.1f}  seconds",
        f"{report.holds_per_s:>10,.1f}  holds asked for a second, with the commits of those that were granted",
        f"{report.latency.p50_ms:>10,.1f}  ms p50 of holds, {report.latency.p99_ms:,.1f} ms p99",
        "",
        f"{'':10}  {'available':>12} {'reserved':>12} {'sold':>12}",
    ]
    for name, counts in (("API", report.api), ("PostgreSQL", report.database), ("ledger", report.ledger)):
        out.append(f"{name:>10}  {counts.available:>12,} {counts.reserved:>12,} {counts.sold:>12,}")
    verdict = "Sold exactly what there was; the books balance." if report.balances else "The books do NOT balance."
    return "\n".join([*out, "", verdict])


if __name__ == "__main__":
    command()
