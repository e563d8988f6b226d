"""`holdfast keys`: API keys, made, listed and revoked."""

from __future__ import annotations

import click
import msgspec

from cli.database import with_database
from engine.errors import HoldfastError
from persistence import api_keys
from persistence.api_keys import ApiKey, Scope

MAX_NAME_LENGTH = 100

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Created(msgspec.Struct, frozen=True):
    """A new key with its secret."""

    key: ApiKey
    secret: str


class Listed(msgspec.Struct, frozen=True):
    """Every key."""

    keys: list[ApiKey]


@click.group("keys")
def command() -> None:
    """API keys: `storefront` for shoppers' traffic, `operator` for everything."""


@command.command("create")
@click.option("--scope", type=click.Choice(["storefront", "operator"]), required=True, help="What the key may do.")
@click.option("--name", required=True, help="Whose key it is.")
@as_json_option
def create(scope: Scope, name: str, *, as_json: bool) -> None:
    """Make a key and print its secret, which is stored nowhere and cannot be shown again."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise click.BadParameter(f"must have 1 to {MAX_NAME_LENGTH} printable characters", param_hint="--name")
    key, secret = with_database(lambda pool: api_keys.create(pool, name, scope))
    if as_json:
        click.echo(msgspec.json.encode(Created(key, secret)))
        return
    click.echo(secret)
    click.echo(f"{key.id} ({key.scope}, {key.name}): keep the secret above, it is not shown again", err=True)


@command.command("list")
@as_json_option
def list_keys(*, as_json: bool) -> None:
    """List every key, the oldest first; never a secret."""
    keys = with_database(api_keys.list_all)
    if as_json:
        click.echo(msgspec.json.encode(Listed(keys)))
        return
    if not keys:
        click.echo("there are no keys; holdfast keys create makes one", err=True)
    for key in keys:
        state = "live" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M}Z"
        click.echo(f"{key.id}  {key.scope:<10}  {key.created_at:%Y-%m-%d %H:%M}Z  {state:<25}  {key.name}")


@command.command("revoke")
@click.argument("key_id", metavar="ID")
@as_json_option
def revoke(key_id: str, *, as_json: bool) -> None:
    """End a key: at once it opens nothing."""
    key = with_database(lambda pool: api_keys.revoke(pool, key_id))
    if key is None:
        raise HoldfastError(f"there is no key {key_id!r}; holdfast keys list shows them")
    click.echo(msgspec.json.encode(key) if as_json else f"revoked {key.id} ({key.scope}, {key.name})")
