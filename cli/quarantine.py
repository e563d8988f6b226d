"""`holdfast quarantine`: events that the flush could not apply, shown and replayed."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from cli.database import with_database
from persistence import quarantine

SHARD = 0


@click.group("quarantine")
def command() -> None:
    """Show and replay events that the flush set aside because PostgreSQL could not apply them."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_waiting(*, as_json: bool) -> None:
    """Show what is set aside, in the order in which it must be replayed."""
    waiting = with_database(quarantine.waiting)
    if as_json:
        click.echo(msgspec.json.encode(waiting).decode())
        return
    for item in waiting:
        click.echo(f"{item.epoch}-{item.seq}  {item.kind}  {item.reason}\n    {item.payload}")
    click.echo(f"{len(waiting)} set aside")


@command.command("replay")
@click.argument("event")
@click.option(
    "--payload",
    "payload_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the event's JSON as it should have been.",
)
@click.pass_context
def replay(context: click.Context, event: str, payload_path: Path | None) -> None:
    """Apply EVENT (such as 1-42, see list) now. Exit status 0 only if it was applied, whole."""
    epoch, dash, seq = event.partition("-")
    if not (dash and epoch.isdecimal() and seq.isdecimal()):
        raise click.BadParameter("an event is named by epoch and sequence, such as 1-42", param_hint="EVENT")
    payload = None if payload_path is None else payload_path.read_text(encoding="utf-8").strip()
    done = with_database(lambda pool: quarantine.replay(pool, SHARD, int(epoch), int(seq), payload))
    if done is None:
        click.echo(f"nothing waits at {event}", err=True)
    elif done.reason:
        click.echo(f"{event} still cannot be applied: {done.reason}", err=True)
    else:
        click.echo(f"{event} is applied ({done.events} events)")
    context.exit(0 if done is not None and done.reason is None else 1)
