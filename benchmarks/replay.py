"""`python -m benchmarks.replay`: real order lines as HTTP traffic, and afterwards the audit, SKU by SKU."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from benchmarks.baskets import SALES, Invoice, invoices_in_order, stock_needed
from benchmarks.books import Counts, Evidence, Movement, audit, expected_counts, file_entries, stocking_entries
from benchmarks.carts import Cart, carts_by_invoice
from benchmarks.catalogue import CatalogueMaker
from benchmarks.destinations import check_file
from benchmarks.order_books import Accounts, audit_orders, entries_by_invoice, file_totals
from benchmarks.order_lines import SKU_PREFIX, Kind, OrderFileError, OrderLine, Skip, read_order_lines
from benchmarks.prices import CURRENCY
from benchmarks.progress import progress
from benchmarks.report import SHOWN, Report, Sales, describe_rows, latencies, render, sum_counts
from benchmarks.shopping import Shopper
from benchmarks.storefront import ReplayError, Storefront, UnansweredError, open_storefront
from benchmarks.target import Finite, patience_option, required, runtime_of, target_options
from benchmarks.traffic import Replayer
from benchmarks.witness import Witness


class Options(Struct, frozen=True):
    """What was asked for."""

    file: Path
    url: str
    database_url: str
    api_key: str | None
    concurrency: int
    speed: float | None
    limit: int | None
    sku_prefix: str
    patience_s: float
    carts: bool = False


class Plan(Struct, frozen=True):
    """What the file says: its rows by treatment, those that are replayed, and the invoices and carts that they make."""

    treatments: dict[str, int]
    not_taken: int
    lines: list[OrderLine]
    invoices: list[Invoice]
    carts: Mapping[str, list[Cart]]


def _sku_prefix(_context: click.Context, _option: click.Parameter, prefix: str) -> str:
    if not SKU_PREFIX.fullmatch(prefix):
        raise click.BadParameter("must have at most 63 of A-Z a-z 0-9 . _ : -, for a SKU has 1 to 64 of them in all")
    return prefix


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path))
@target_options
@click.option("--carts", is_flag=True, help="Sell through carts and checkout, each line at the price of its row.")
@click.option("--concurrency", default=32, show_default=True, type=click.IntRange(1, 1_000), help="Invoices at once.")
@click.option("--speed", type=Finite(min=0, min_open=True), help="Times real time.  [as fast as possible]")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many baskets.")
@click.option(
    "--sku-prefix",
    default="",
    callback=_sku_prefix,
    help="Put before every SKU, to keep a run apart from other stock.",
)
@patience_option
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the report there too; - prints it.")
def command(
    *,
    file: Path,
    url: str | None,
    database_url: str | None,
    data_dir: Path,
    api_key: str | None,
    carts: bool,
    concurrency: int,
    speed: float | None,
    limit: int | None,
    sku_prefix: str,
    patience: float,
    json_path: Path | None,
) -> None:
    """Replay order lines (InvoiceNo, StockCode, Quantity, InvoiceDate, UnitPrice, CustomerID) through the API.

    Each basket is held and committed with its invoice as reference, cancellations come back as adjustments up, negative
    quantities as adjustments down; the table says what became of every other row. Each SKU is given enough stock first.
    It may run on a system in use, any number of times: what counts are differences.

    With --carts each basket is put into a cart line by line and checked out, paid. The SKUs become variants in GBP,
    their list price above all of the file's, and each price a pricing rule with a promo code of its own.

    Exit status 0: every basket was served, and API, PostgreSQL, ledger and file agree on every SKU; with --carts also
    API, PostgreSQL and file on what each invoice comes to, and on the price of each line. 1: they do not, or the file
    or the system cannot be used.
    """
    json_file = None if json_path is None or str(json_path) == "-" else json_path
    if json_file is not None:
        check_file(json_file, "--json")
    try:
        plan = read_plan(file, sku_prefix, limit)
        runtime = runtime_of(data_dir)
        options = Options(
            file=file,
            url=required(url or runtime.get("api_url"), "--url"),
            database_url=required(database_url or runtime.get("database_url"), "--database-url"),
            api_key=api_key,
            concurrency=concurrency,
            speed=speed,
            limit=limit,
            sku_prefix=sku_prefix,
            patience_s=patience,
            carts=carts,
        )
        report = asyncio.run(replay(options, plan))
    except (OrderFileError, ReplayError, UnansweredError) as error:
        raise click.ClickException(str(error)) from None
    text = msgspec.json.format(msgspec.json.encode(report)).decode()
    click.echo(text if str(json_path) == "-" else render(report))
    if json_file is not None:
        try:
            json_file.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"--json {json_file} was not written: {error.strerror or error}") from None
    sys.exit(0 if report.balances else 1)


def read_plan(file: Path, sku_prefix: str, max_baskets: int | None) -> Plan:
    """Read the file and put its rows together. Raises OrderFileError, also when there is nothing to replay in it."""
    skipped: Counter[Skip] = Counter()
    lines: list[OrderLine] = []
    for judged in read_order_lines(file, sku_prefix):
        if isinstance(judged, Skip):
            skipped[judged] += 1
        else:
            lines.append(judged)
    invoices = invoices_in_order(lines, max_baskets)
    if not invoices:
        raise OrderFileError(f"{file}: no row in it moves any stock")
    wanted = {invoice.number for invoice in invoices}
    taken = [line for line in lines if line.invoice in wanted]
    kinds = Counter(line.kind for line in taken)
    treatments = {str(kind): kinds[kind] for kind in Kind} | {
        str(skip): skipped[skip] for skip in Skip if skipped[skip]
    }
    return Plan(treatments, len(lines) - len(taken), taken, invoices, carts_by_invoice(taken))


async def replay(options: Options, plan: Plan) -> Report:
    """Stock up, replay and audit. Raises ReplayError or UnansweredError when it cannot be done at all."""
    run = f"replay-{secrets.token_hex(6)}"
    needed = stock_needed(plan.invoices)
    async with open_storefront(options.url, api_key=options.api_key, patience_s=options.patience_s) as storefront:
        witness = Witness(storefront, options.database_url, list(needed), options.patience_s)
        opening = await witness.open_books()
        if any(counts.reserved for counts in opening.counts.values()):
            click.echo(
                "note: live holds of others are on these SKUs; when they end, the books cannot balance", err=True
            )
        replayer, known, shop = Replayer(storefront, run), set(opening.counts), Shop()
        if options.carts:
            shop = await _open_shop(storefront, run, plan, opening.counts)
            replayer = Shopper(storefront, run, plan.carts, shop.promo_codes)
            known |= shop.skus
        with progress("stocking up", len(needed)) as advance:
            await replayer.stock_up(needed, known, options.concurrency, advance)
        with progress("replaying", len(plan.invoices)) as advance:
            await replayer.replay(plan.invoices, options.concurrency, options.speed, advance)
        said = await witness.close_books(opening, replayer.traffic.carts, len(replayer.traffic.placed))
    return _report(options, plan, replayer, said, shop)


class Shop(Struct, frozen=True):
    """What sells at which promo code, what of it had to be made, and the seconds that this took."""

    skus: frozenset[str] = frozenset()
    promo_codes: Mapping[int, str] = {}
    made: Mapping[str, int] = {}
    elapsed_s: float = 0.0


async def _open_shop(storefront: Storefront, run: str, plan: Plan, stock: Mapping[str, Counts]) -> Shop:
    started = time.perf_counter()
    prices: defaultdict[str, set[int]] = defaultdict(set)
    for line in chain.from_iterable(chain.from_iterable(plan.carts.values())):
        prices[line.sku].add(line.price)
    with progress("making the catalogue", len(prices)) as advance:
        price_list = await CatalogueMaker(storefront, run, advance).make(prices, stock)
    return Shop(frozenset(prices), price_list.promo_codes, price_list.made, time.perf_counter() - started)


def _report(options: Options, plan: Plan, replayer: Replayer, said: Evidence, shop: Shop) -> Report:
    sold_or_moved, stocked = file_entries(plan.lines), stocking_entries(replayer.run, plan.lines)
    entries = sold_or_moved | stocked
    traffic = replayer.traffic
    told = msgspec.structs.replace(said, entries=entries_by_invoice(said.entries, traffic.placed))
    accounts = Accounts(traffic.placed, said.orders, traffic.carts)
    mismatches = chain(audit(entries, told), audit_orders(plan.lines, accounts) if options.carts else ())
    shown = list(islice(mismatches, SHOWN))
    elapsed_s = max(traffic.elapsed_s, 1e-9)
    requests = sum(len(times) for times in traffic.times_s.values())
    return Report(
        file=str(options.file),
        run=replayer.run,
        rows=describe_rows(
            plan.treatments, plan.not_taken, plan.lines, plan.invoices, plan.carts if options.carts else {}
        ),
        invoices=len(plan.invoices),
        baskets=traffic.baskets,
        skus=len({sku for _, sku in entries}),
        units=traffic.units,
        units_of_the_file=_units_of(plan.lines, stocked.values()),
        refusals=dict(traffic.refusals.most_common()),
        refused_baskets=traffic.refused_baskets,
        unanswered=traffic.unanswered,
        retries=replayer.retries,
        elapsed_s=round(elapsed_s, 3),
        baskets_per_s=round(traffic.baskets / elapsed_s, 1),
        requests_per_s=round(requests / elapsed_s, 1),
        latency=latencies(traffic),
        totals={
            "before": sum_counts(said.before.values()),
            "API": sum_counts(said.api.values()),
            "PostgreSQL": sum_counts(said.database.values()),
            "ledger": sum_counts(said.ledger.values()),
            "file": sum_counts(expected_counts(said.before, entries).values()),
        },
        mismatches=shown,
        mismatch_count=len(shown) + sum(1 for _ in mismatches),
        sales=_sales(plan, accounts, shop) if options.carts else None,
    )


def _sales(plan: Plan, accounts: Accounts, shop: Shop) -> Sales:
    return Sales(
        carts=len(accounts.carts),
        orders=len(accounts.placed),
        order_items=sum(len(each.order.items) for each in accounts.placed),
        currency=CURRENCY,
        revenue={
            "API": sum(each.order.total for each in accounts.placed),
            "PostgreSQL": sum(order.total for order in accounts.stored),
            "file": file_totals(plan.lines).total(),
        },
        made=dict(shop.made),
        catalogue_s=round(shop.elapsed_s, 3),
    )


def _units_of(lines: Iterable[OrderLine], stocked: Iterable[Movement]) -> dict[str, int]:
    units = {"stocked up": sum(movement.received for movement in stocked), "sold": 0, "returned": 0, "written off": 0}
    for line in lines:
        name = "sold" if line.kind in SALES else "returned" if line.kind is Kind.RETURN else "written off"
        units[name] += line.units
    return units


if __name__ == "__main__":
    command()
