"""`holdfast rebuild`: fill Redis from PostgreSQL, live holds, carts and payment windows included."""

from __future__ import annotations

import time

import click
import msgspec

from cli.database import with_database
from cli.runtime import settings_for_command
from engine.settings import read_settings
from persistence import fence
from persistence.rebuild import GivenUp


@click.command("rebuild")
@click.option(
    "--give-up-quarantined",
    is_flag=True,
    help="Rebuild although events are set aside, of which only Redis has what they changed: units that they sold are "
    "available again.",
)
@click.option(
    "--give-up-missing",
    is_flag=True,
    help="Rebuild although Redis' log misses events, or PostgreSQL was put back to an earlier time: what they changed "
    "is undone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was put back as JSON.")
def command(*, give_up_quarantined: bool, give_up_missing: bool, as_json: bool) -> None:
    """Rebuild Redis from PostgreSQL, after applying what Redis' event log still holds beyond it.

    For a Redis that was wiped or is not trusted. It is closed meanwhile: reserves are answered 503, and go on by
    themselves afterwards. Refuses where it would lose something: while events are set aside or missing in the log, and
    where PostgreSQL's counts are not the sum of its ledger.
    """
    settings = settings_for_command(read_settings())
    started = time.monotonic()
    given_up = GivenUp(quarantined=give_up_quarantined, missing=give_up_missing)
    rebuilt = with_database(lambda pool: fence.rebuild(settings, pool, given_up=given_up), settings.database_pool)
    took_s = time.monotonic() - started
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(rebuilt), "took_s": round(took_s, 3)}).decode())
        return
    click.echo(
        f"rebuilt in {took_s:.1f} s: {rebuilt.skus} SKUs, {rebuilt.holds} holds, {rebuilt.customers} customer counts, "
        f"{rebuilt.memories} remembered answers, {rebuilt.carts} carts, {rebuilt.orders} orders, "
        f"{rebuilt.coupons} coupon counts; {rebuilt.drained_events} events were applied first; "
        f"epoch {rebuilt.epoch} began"
    )
