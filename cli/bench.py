"""`holdfast bench`: load for a running system, with the books compared at the end."""

from __future__ import annotations

import click

from benchmarks import drop, replay


@click.group("bench")
def command() -> None:
    """Put load on a running system (start one with `holdfast up`) and prove afterwards that its books balance."""


command.add_command(drop.command)
command.add_command(replay.command)
