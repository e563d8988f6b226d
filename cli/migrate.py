"""`holdfast migrate`: bring PostgreSQL's schema up to date."""

from __future__ import annotations

import asyncio
import json

import click

from cli.runtime import settings_for_command
from engine.settings import read_settings
from persistence.migrate import migrate


@click.command("migrate")
@click.option("--json", "as_json", is_flag=True, help="Print the applied migrations as JSON.")
def command(*, as_json: bool) -> None:
    """Apply the migrations that HOLDFAST_DATABASE_URL, or the running `up`, does not have yet.

    Several may run at once: one applies, the others wait for it.
    """
    settings = read_settings()
    if settings.database_url is None:
        settings = settings_for_command(settings)
    applied = asyncio.run(migrate(settings.require_database_url()))
    if as_json:
        click.echo(json.dumps({"applied": applied}))
        return
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("the schema is up to date")
