"""`holdfast quarantine`: events that the flush could not apply, shown and replayed."""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec

from cli.database import with_database
from cli.runtime import settings_for_command
from engine.settings import read_settings
from persistence import fence, quarantine
from persistence.pool import Pool

SHARD = 0
REBUILD_CONNECTIONS = 3
EVENT = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)


@click.group("quarantine")
def command() -> None:
    """Show and replay events that the flush set aside because PostgreSQL could not apply them."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_waiting(*, as_json: bool) -> None:
    """Show what is set aside, the first thousand in the order in which they must be replayed."""
    waiting, count = with_database(_look)
    if as_json:
        click.echo(msgspec.json.encode(waiting).decode())
        return
    for item in waiting:
        click.echo(f"{item.epoch}-{item.seq}  {item.kind}  {item.reason}\n    {item.payload}")
    click.echo(f"{count} set aside")


async def _look(pool: Pool) -> tuple[list[quarantine.Quarantined], int]:
    return await quarantine.waiting(pool), await quarantine.count(pool)


@command.command("replay")
@click.argument("event")
@click.option(
    "--payload",
    "payload_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the event's JSON as it should have been.",
)
@click.option(
    "--rebuild", is_flag=True, help="Rebuild Redis from PostgreSQL afterwards: for an event of an earlier epoch."
)
@click.option("--json", "as_json", is_flag=True, help="Print what became of it as JSON.")
@click.pass_context
def replay(context: click.Context, event: str, payload_path: Path | None, *, rebuild: bool, as_json: bool) -> None:
    """Apply EVENT (such as 1-42, see list) now. Exit status 0 only if it was applied, whole."""
    found = EVENT.fullmatch(event)
    if found is None:
        raise click.BadParameter("an event is named by epoch and sequence, such as 1-42", param_hint="EVENT")
    epoch, seq = (int(part) for part in found.groups())
    try:
        payload = None if payload_path is None else payload_path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"is not UTF-8: {error}", param_hint="--payload") from None
    settings = settings_for_command(read_settings()) if rebuild else None

    async def apply(pool: Pool) -> quarantine.Replay | None:
        applied = await quarantine.replay(pool, SHARD, epoch, seq, payload, is_rebuilt=rebuild)
        if settings is None or applied is None or applied.reason is not None:
            return applied
        if left := await quarantine.count(pool):
            click.echo(f"{left} more are set aside: Redis is rebuilt with the last of them", err=True)
        else:
            await fence.rebuild(settings, pool)
        return applied

    done = with_database(apply, REBUILD_CONNECTIONS)
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
    elif done is None:
        click.echo(f"nothing waits at {event}", err=True)
    elif done.reason:
        click.echo(f"{event} still cannot be applied: {done.reason}", err=True)
    else:
        click.echo(f"{event} is applied ({done.events} events)")
    context.exit(0 if done is not None and done.reason is None else 1)
