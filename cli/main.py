"""The console script `holdfast`: finds its commands lazily and turns what a user can mend into one line."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import sys

import click

from engine.settings import SettingsError

COMMANDS = {
    "up": "cli.up",
    "migrate": "cli.migrate",
    "import": "cli.import_catalogue",
    "reconcile": "cli.reconcile",
    "rebuild": "cli.rebuild",
    "bench": "cli.bench",
    "keys": "cli.keys",
    "quarantine": "cli.quarantine",
}
FAULT = 1
MISUSE = 2


class Commands(click.Group):
    """Each command is the `command` of its own module, which is imported only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name]).command
        return command if isinstance(command, click.Command) else None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="holdfast")
def cli() -> None:
    """Holdfast, the inventory engine that a flash sale can trust."""


def main() -> None:
    """Run a command. Exit status: 0 it succeeded, 1 it failed, 2 it was asked for wrongly."""
    try:
        status = cli(prog_name="holdfast", standalone_mode=False)  # what a command's `ctx.exit(status)` asked for
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except SettingsError as error:
        _fail(error, MISUSE)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, had enough
        sys.exit(FAULT)
    except Exception as error:
        if not _can_be_mended(error):
            raise
        _fail(error, FAULT)


def _fail(error: Exception, status: int) -> None:
    import asyncpg  # noqa: PLC0415 - costs nothing where nothing failed
    import redis  # noqa: PLC0415 - as above

    from engine.connection import reason_of  # noqa: PLC0415 - as above

    said = reason_of(error) if isinstance(error, redis.RedisError) else str(error)
    message = " ".join(said.split()) or type(error).__name__
    if isinstance(error, TimeoutError) and not said:
        message = "PostgreSQL does not answer, see HOLDFAST_DATABASE_URL"
    elif isinstance(error, asyncpg.UndefinedTableError):
        message = "the database is not migrated: run holdfast migrate"
    elif isinstance(error, redis.RedisError):
        message = f"Redis cannot be reached, see HOLDFAST_REDIS_URL: {message}"
    elif isinstance(error, ConnectionError | socket.gaierror):  # redis-py's are of its own kind and name their server
        message = f"PostgreSQL cannot be reached, see HOLDFAST_DATABASE_URL: {message}"
    elif isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename} cannot be used: {error.strerror}"
    click.echo(f"holdfast: {message}", err=True)
    sys.exit(status)


def _can_be_mended(error: Exception) -> bool:
    """Whether the operator, rather than a developer, has to act: no way to a server or a file, or a name taken."""
    import asyncpg  # noqa: PLC0415 - costs nothing where nothing failed
    import redis  # noqa: PLC0415 - as above

    from engine.errors import HoldfastError  # noqa: PLC0415 - as above

    return isinstance(
        error,
        OSError
        | HoldfastError
        | redis.ConnectionError
        | redis.TimeoutError
        | asyncpg.PostgresConnectionError
        | asyncpg.InvalidAuthorizationSpecificationError
        | asyncpg.InvalidCatalogNameError
        | asyncpg.InsufficientResourcesError
        | asyncpg.OperatorInterventionError
        | asyncpg.UndefinedTableError
        | asyncpg.InsufficientPrivilegeError
        | asyncpg.ReadOnlySQLTransactionError
        | asyncpg.LockNotAvailableError
        | asyncpg.exceptions.ClientConfigurationError,
    )


if __name__ == "__main__":
    main()
