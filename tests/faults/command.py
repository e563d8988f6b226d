"""`python -m tests.faults`: the fault run from the command line."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import click
import msgspec

from tests.faults import faults
from tests.faults.campaign import Campaign
from tests.faults.report import markdown, summary, table
from tests.faults.sites import directory
from tests.faults.system import NotThereError


@click.command("faults")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(min=5), help="How long, about.")
@click.option("--seed", type=int, help="What decides faults, moments and load.  [any]")
@click.option("--only", multiple=True, help="Faults whose name contains this; again for more.")
@click.option("--list", "is_list", is_flag=True, help="Print the names of all faults.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the result there as JSON.")
@click.option("--markdown", "markdown_path", type=click.Path(path_type=Path), help="Write the table there as Markdown.")
@click.option("--keep", "is_kept", is_flag=True, help="Keep data and logs of a run that was right, too.")
@click.pass_context
def command(
    context: click.Context,
    *,
    seconds: float,
    seed: int | None,
    only: tuple[str, ...],
    is_list: bool,
    json_path: Path | None,
    markdown_path: Path | None,
    is_kept: bool,
) -> None:
    """Run the whole system under load, inject faults in random order, and check every answer that was given.

    Exit status 0: nothing that was acknowledged is lost or doubled, nothing was oversold, both sides agree, and the
    system was ready again after each fault. 1: something is wrong; the histories are kept, and the seed is printed. The
    same seed brings the same faults and the same load, but not the same moments: those are the machine's.
    """
    chosen = [fault for fault in faults.ALL if not only or any(part.lower() in fault.name.lower() for part in only)]
    if is_list or not chosen:
        click.echo("\n".join(fault.name for fault in chosen or faults.ALL))
        context.exit(0 if is_list else 2)
    seed = random.randrange(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}, about {seconds:g} s, {len(chosen)} faults")
    with directory() as path:
        campaign = Campaign(chosen, seconds, seed, path, click.echo)
        is_right = _run(campaign)
        click.echo(table(campaign.rounds, campaign.skipped))
        click.echo(summary(campaign.rounds, seed))
        if json_path is not None:
            json_path.write_bytes(msgspec.json.format(msgspec.json.encode(campaign.rounds)))
        if markdown_path is not None:
            markdown_path.write_text(markdown(campaign.rounds, campaign.skipped), encoding="utf-8")
        if is_kept or not is_right:
            click.echo(f"histories, final states and logs are kept in {path}")
            context.exit(0 if is_right else 1)


def _run(campaign: Campaign) -> bool:
    """Whether all of it was right."""
    try:
        asyncio.run(campaign.run())
    except NotThereError as error:
        click.echo(f"  WRONG: {error}")
        return False
    return all(each.is_right for each in campaign.rounds)
