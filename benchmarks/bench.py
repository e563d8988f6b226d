"""`python -m benchmarks.bench SCENARIO`: one scenario, or `all` of them, on systems of its own; then the report."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
import msgspec

from benchmarks.destinations import check_folder
from benchmarks.findings.figures import Result
from benchmarks.findings.machine import describe
from benchmarks.findings.report import MARKDOWN, Report, render, write
from benchmarks.harness.children import HarnessError
from benchmarks.harness.stage import Options, Stage, open_stage
from benchmarks.load.run import LoadError
from benchmarks.scenarios import SCENARIOS

ALL = "all"
QUICK = Options(rounds=2, seconds=1.0, skus=1_000, holds=1_000, growth=1_000, arrivals=1_000.0)
FULL = Options(rounds=6, seconds=5.0, holds=1_000_000, growth=1_000_000)
DEFAULT = Options()
BROKEN = 1


def commands() -> list[click.Command]:
    """A command for each scenario, and one for all."""
    titles = {ALL: "Every scenario: about seven minutes.", **{name: title for name, (title, _) in SCENARIOS.items()}}
    return [_command(name, title) for name, title in titles.items()]


def _command(name: str, title: str) -> click.Command:
    def run(**told: object) -> None:
        run_scenarios(tuple(SCENARIOS) if name == ALL else (name,), **told)  # type: ignore[arg-type]

    return click.Command(name.replace("_", "-"), callback=run, params=_options(), help=_sentence(title))


def _sentence(title: str) -> str:
    return f"{title[0].upper()}{title[1:].rstrip('.')}.\n\nStarts its own servers. Exit status 1 when a promise broke."


def _options() -> list[click.Parameter]:
    return [
        click.Option(["--quick"], is_flag=True, help="Short turns and few holds: to see that it works."),
        click.Option(["--full"], is_flag=True, help="Long turns and a million holds: takes half an hour."),
        click.Option(["--rounds"], type=click.IntRange(2, 100), help="Turns of each; the first is thrown away."),
        click.Option(["--seconds"], type=click.FloatRange(0.5, 60), help="How long a turn is."),
        click.Option(
            ["--connections"], type=click.IntRange(1, 1_000), help=f"Of a closed-loop load.  [{DEFAULT.connections}]"
        ),
        click.Option(["--arrivals"], type=click.FloatRange(1, 100_000), help="Shoppers a second in `spike`."),
        click.Option(["--skus"], type=click.IntRange(1, 100_000), help="Of the full system."),
        click.Option(["--holds"], type=click.IntRange(1), help="Live holds of the full system."),
        click.Option(["--growth"], type=click.IntRange(1), help="Holds that come and go in `memory`."),
        click.Option(["--against"], type=click.Choice(DEFAULT.against), multiple=True, help="Peers.  [all of them]"),
        click.Option(["--bundled"], is_flag=True, help="Use the bundled load client even where wrk is installed."),
        click.Option(["--within"], type=click.Path(path_type=Path), help="Where systems keep their data.  [temporary]"),
        click.Option(["--out"], type=click.Path(path_type=Path), default=Path(".bench"), show_default=True),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the report as JSON."),
        click.Option(["--strict"], is_flag=True, help="Exit status 1 for a missed target as well."),
    ]


def options_of(*, quick: bool, full: bool, **told: object) -> Options:
    """The options that were given, over those of the size that was asked for."""
    given = {name: value for name, value in told.items() if value not in (None, (), False)}
    return msgspec.structs.replace(QUICK if quick else FULL if full else DEFAULT, **given)


def run_scenarios(
    names: Sequence[str], *, out: Path, as_json: bool, strict: bool, quick: bool, full: bool, **told: object
) -> None:
    """Run them, write the report, and exit with 1 when a promise broke."""
    options = options_of(quick=quick, full=full, **told)
    check_folder(out, "--out")
    began, began_at = time.monotonic(), datetime.now(UTC)
    try:
        with _ended_in_order(), open_stage(options, lambda line: click.echo(line, err=True)) as stage:
            results = [run_one(name, stage) for name in names]
            machine = describe(stage.any_system(), bundled=options.bundled)
    except (HarnessError, LoadError) as error:
        raise click.ClickException(str(error)) from None
    shown = {name: value for name, value in msgspec.to_builtins(options, enc_hook=str).items() if value is not None}
    report = Report(
        began_at=f"{began_at:%Y-%m-%d %H:%M} UTC",
        took_s=round(time.monotonic() - began, 1),
        machine=machine,
        options={name: value for name, value in shown.items() if name not in ("against", "bundled", "within")},
        results=results,
    )
    click.echo(msgspec.json.encode(report).decode() if as_json else render(report))
    try:
        write(report, out)
    except OSError as error:
        raise click.ClickException(f"--out {out} was not written: {error.strerror or error}") from None
    click.echo(f"written to {out / MARKDOWN}", err=True)
    sys.exit(BROKEN if report.broken or (strict and report.missed) else 0)


def run_one(name: str, stage: Stage) -> Result:
    """One scenario, and the promises after it."""
    title, run = SCENARIOS[name]
    stage.told(f"{name}: {title}")
    began = time.monotonic()
    result = run(stage)
    result.broken += stage.broken_promises()
    result.took_s = round(time.monotonic() - began, 1)
    stage.told(f"  took {result.took_s} s" + "".join(f"\n  BROKEN: {told}" for told in result.broken))
    return result


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C is: what was started is ended first."""
    earlier = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Bench(click.Group):
    """The scenarios; `sold_out` is as good as `sold-out`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name.replace("_", "-"))


if __name__ == "__main__":
    Bench(commands={str(found.name): found for found in commands()})()
