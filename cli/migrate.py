"""`holdfast migrate`: bring PostgreSQL's schema up to date."""

from __future__ import annotations

import asyncio
import json

import click

from cli.database import database_url
from persistence.migrate import migrate


@click.command("migrate")
@click.option("--json", "as_json", is_flag=True, help="Print the applied migrations as JSON.")
def command(*, as_json: bool) -> None:
    """Apply the migrations that HOLDFAST_DATABASE_URL, or the running `up`, does not have yet.

    Several may run at once: one applies, the others wait for it.
    """
    applied = asyncio.run(migrate(database_url()))
    if as_json:
        click.echo(json.dumps({"applied": applied}))
        return
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("the schema is up to date")
