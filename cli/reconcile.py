"""`holdfast reconcile`: prove that every unit is accounted for, and with `--fix` mend what is not."""

from __future__ import annotations

import asyncio

import click
import msgspec

from cli.runtime import settings_for_command
from engine.settings import read_settings
from jobs.reconcile import AUDIT_WAIT_S, Reconciled, run

MAX_SHOWN = 20


@click.command("reconcile")
@click.option(
    "--fix",
    is_flag=True,
    help="Where the books do not balance: set PostgreSQL's counts to its ledger, and rebuild Redis from it.",
)
@click.option(
    "--wait",
    "wait_s",
    default=AUDIT_WAIT_S,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait for the flush.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(context: click.Context, *, fix: bool, wait_s: float, as_json: bool) -> None:
    """Compare Redis, PostgreSQL's counts, its ledger and its holds, SKU by SKU, while traffic may run.

    Holds whose record was lost are ended from what PostgreSQL knows. Exit status 0 only if everything balances.
    """
    settings = settings_for_command(read_settings())
    result = asyncio.run(run(settings, fix=fix, wait_s=wait_s))
    balanced = result.audit.is_clean and not result.orphans_unproven
    if as_json:
        click.echo(msgspec.json.encode({"balanced": balanced, **msgspec.to_builtins(result)}).decode())
    else:
        _show(result)
    context.exit(0 if balanced else 1)


def _show(result: Reconciled) -> None:
    audit = result.audit
    click.echo(f"compared {audit.skus} SKUs at event {audit.epoch}-{audit.seq}")
    if result.orphans_ended or result.orphans_unproven:
        click.echo(f"orphaned holds: {result.orphans_ended} ended, {result.orphans_unproven} that nothing proves")
    if result.rebuilt or result.levels_mended:
        rest = ", Redis rebuilt" if result.rebuilt else ""
        click.echo(f"mended: {result.levels_mended} SKUs set to the ledger{rest}")
    for difference in audit.differences[:MAX_SHOWN]:
        click.echo(f"  {difference.sku}: {difference.between}: {difference.one} | {difference.other}")
    if len(audit.differences) > MAX_SHOWN:
        click.echo(f"  and {len(audit.differences) - MAX_SHOWN} more; --json lists them")
    if audit.is_clean and not result.orphans_unproven:
        click.echo("every unit is accounted for")
    elif audit.is_clean:
        click.echo(
            "the counts agree, but these holds keep their units; holdfast rebuild puts back what PostgreSQL knows"
        )
    elif audit.quarantined:
        click.echo(f"{audit.quarantined} events are set aside: holdfast quarantine list")
        click.echo(
            "it may be that only Redis has what they changed: replay them first, Redis is not rebuilt until then"
        )
    elif not result.rebuilt:
        click.echo("the books do not balance; --fix mends them from the ledger")
