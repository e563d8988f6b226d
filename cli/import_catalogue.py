"""`holdfast import`: a catalogue file into the system."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import click
import msgspec
from msgspec import Struct

from cli.catalogue_file import (
    SUFFIXES,
    CatalogueFileError,
    Format,
    Table,
    count_records,
    format_of,
    read_catalogue,
)
from cli.catalogue_rows import Rejected, StockedRow, judge_records
from cli.catalogue_writer import Imported, import_rows
from cli.rejects import RejectsFile, rejects_path
from cli.runtime import settings_for_command
from engine.catalogue import CURRENCY_DIGITS
from engine.errors import HoldfastError
from engine.settings import Settings, read_settings
from jobs.resources import open_resources
from persistence.imports import OtherCurrency

SHOWN_IGNORED = 10


class Job(Struct, frozen=True):
    """What was asked for."""

    path: Path
    format: Format
    rejects: Path
    currency: str
    dry_run: bool


class Summary(Struct):
    """What came of it, as `--json` prints it. `accepted` rows are in, or with `dry_run` would be."""

    file: str
    dry_run: bool
    rows: int
    accepted: int = 0
    rejected: int = 0
    created: int = 0
    kept: int = 0
    updated: int = 0
    reasons: dict[str, int] = msgspec.field(default_factory=dict)
    rejects_file: str | None = None
    ignored_columns: list[str] = msgspec.field(default_factory=list)
    elapsed_s: float = 0.0


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "jsonl"]),
    help=f"Without it the name tells: {', '.join(SUFFIXES)}.",
)
@click.option("--currency", default="USD", show_default=True, help="For rows that name none (ISO 4217).")
@click.option("--dry-run", is_flag=True, help="Judge every row and change nothing; needs no running system.")
@click.option(
    "--rejects", type=click.Path(path_type=Path), help="Where rejected rows go.  [FILE.rejected.csv or .jsonl]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    *, file: Path, file_format: Format | None, currency: str, dry_run: bool, rejects: Path | None, as_json: bool
) -> None:
    """Import a catalogue: CSV with a header, or one JSON object a line.

    Fields: sku, name, quantity, and price (2.55) or price_minor (255); if wanted currency, customer_limit, description,
    category (a path such as Home/Candles, made where it is missing), product, and attributes (a JSON object) or
    attributes.size and the like. Rows with the same product are variants of one product, which has the first row's
    name; without one, each SKU is a product of its own.

    A SKU that is there already keeps its count, and gets the file's name and price: importing a file twice changes
    nothing the second time. Of rows with the same SKU the first counts. Prices and quantities may be 0.

    Exit status 0: the file was read and every accepted row is in; rejected ones are counted and written, with line and
    reason, to a file that can be mended and imported. 1: the file or the system cannot be used, or no row was accepted.
    """
    if currency.upper() not in CURRENCY_DIGITS:
        raise click.BadParameter(f"{currency} is no ISO 4217 code", param_hint="--currency")
    settings = None if dry_run else settings_for_command(read_settings())
    try:
        chosen = file_format or format_of(file)
        job = Job(file, chosen, rejects or rejects_path(file, chosen), currency.upper(), dry_run)
        summary = _run(job, settings)
    except (CatalogueFileError, OtherCurrency) as error:
        raise click.ClickException(str(error)) from None
    except HoldfastError as error:
        raise click.ClickException(f"{error}; what is in stays in, the same command goes on from there") from None
    except asyncpg.UndefinedTableError:
        raise click.ClickException("the database is not migrated: run holdfast migrate") from None
    click.echo(msgspec.json.encode(summary).decode() if as_json else _text(summary))
    if summary.accepted == 0:
        raise click.exceptions.Exit(1)


def _run(job: Job, settings: Settings | None) -> Summary:
    """Read the file twice: once whether it can be read at all, then row by row."""
    started = time.perf_counter()
    summary = Summary(str(job.path), job.dry_run, count_records(job.path, job.format))
    reasons: Counter[str] = Counter()
    with (
        RejectsFile(job.rejects, job.path) as rejects,
        read_catalogue(job.path, job.format) as table,
        _progress(summary.rows, job.path.name) as advance,
    ):
        rows = _accepted(job, table, rejects, reasons, advance)
        if settings is None:
            summary.accepted = sum(1 for _ in rows)
        else:
            imported = asyncio.run(_import(settings, rows))
            summary.created, summary.kept, summary.updated = imported.created, imported.kept, imported.updated
            summary.accepted = imported.rows
        summary.ignored_columns = table.ignored
    summary.rejected = reasons.total()
    summary.reasons = dict(reasons.most_common())
    summary.rejects_file = str(job.rejects) if reasons else None
    summary.elapsed_s = round(time.perf_counter() - started, 3)
    return summary


async def _import(settings: Settings, rows: Iterator[StockedRow]) -> Imported:
    async with open_resources(settings) as resources:
        return await import_rows(resources, rows)


def _accepted(
    job: Job, table: Table, rejects: RejectsFile, reasons: Counter[str], advance: Callable[[], None]
) -> Iterator[StockedRow]:
    for judged in judge_records(table.records, job.currency):
        advance()
        if isinstance(judged, Rejected):
            reasons[judged.reason] += 1
            rejects.write(judged, table)
        else:
            yield judged


@contextmanager
def _progress(total: int, title: str) -> Iterator[Callable[[], None]]:
    """A bar on standard error if that is a terminal; yields what to call for each row."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - costs a tenth of a second
    from rich.progress import Progress  # noqa: PLC0415 - as above

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def _text(summary: Summary) -> str:
    lines = [f"{summary.file}: {summary.rows:,} rows, {summary.accepted:,} accepted, {summary.rejected:,} rejected"]
    if summary.dry_run:
        lines.append("  a dry run: nothing was changed")
    else:
        lines.append(
            f"  {summary.created:,} SKUs created, {summary.kept:,} were there and keep their count, "
            f"{summary.updated:,} names or prices updated"
        )
    lines += [f"  rejected {count:>7,}  {reason}" for reason, count in summary.reasons.items()]
    if summary.rejects_file:
        lines.append(f"  the rejected rows are in {summary.rejects_file}")
    if summary.ignored_columns:
        more = ", …" if len(summary.ignored_columns) > SHOWN_IGNORED else ""
        lines.append(f"  columns not used: {', '.join(summary.ignored_columns[:SHOWN_IGNORED])}{more}")
    return "\n".join(lines)
