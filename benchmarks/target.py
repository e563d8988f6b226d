"""Where the system under load is: given, or told by the running `holdfast up`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmarks.storefront import ReplayError

F = TypeVar("F", bound=Callable[..., Any])


class Finite(click.FloatRange):
    """A range without NaN, which is neither below nor above anything, and so passes every bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


patience_option = click.option(
    "--patience",
    default=60.0,
    show_default=True,
    type=Finite(min=0, min_open=True),
    help="Seconds to wait for an answer, and for the flush.",
)


def target_options(command: F) -> F:
    """The options of every command that loads a running system."""
    for option in reversed(
        (
            click.option("--url", help="The API.  [that of the running `holdfast up`]"),
            click.option(
                "--database-url", envvar="HOLDFAST_DATABASE_URL", help="Its PostgreSQL.  [that of the running `up`]"
            ),
            click.option(
                "--data-dir",
                envvar="HOLDFAST_DATA_DIR",
                default=".holdfast",
                type=click.Path(path_type=Path),
                help="Where `up` says both.  [HOLDFAST_DATA_DIR or .holdfast]",
            ),
            click.option(
                "--api-key", envvar="HOLDFAST_API_KEY", help="An operator's key, unless the system runs without keys."
            ),
        )
    ):
        command = option(command)
    return command


def runtime_of(data_dir: Path) -> dict[str, str]:
    """What a running `up` says of itself; empty where none runs."""
    try:
        found = json.loads((data_dir / "runtime.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: found[name] for name in ("api_url", "database_url") if isinstance(found.get(name), str)}


def required(value: str | None, option: str) -> str:
    """The value. Raises ReplayError where there is none."""
    if not value:
        raise ReplayError(
            f"{option} is not given, and no ready `holdfast up` was found to ask for it: start one (make up), point"
            " --data-dir at its data, or give the option"
        )
    return value
