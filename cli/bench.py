"""`holdfast bench`: what the system can do, measured on systems of its own; and load for a running one."""

from __future__ import annotations

import click

from benchmarks import bench, drop, replay


@click.group("bench", cls=bench.Bench)
def command() -> None:
    """Measure, and prove afterwards that the books balance.

    `drop` and `replay` load a running system (start one with `holdfast up`). All others start their own: `all`, or one
    scenario, beside other designs of the same service, with the figures against their targets.
    """


for found in (drop.command, replay.command, *bench.commands()):
    command.add_command(found)
