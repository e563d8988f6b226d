from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import asyncpg
import click
import pytest
import redis

from cli import main as program
from cli.embedded_server import EmbeddedError
from engine.errors import Unavailable
from engine.settings import SettingsError

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command whose body does what it is given; answers the exit status and standard error."""

    def run(body: Callable[[], None], *arguments: str) -> tuple[int, str]:
        module = ModuleType("stand_in")
        module.__spec__ = ModuleSpec("stand_in", None)
        module.command = click.Command("stand-in", callback=body)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stand_in", module)
        monkeypatch.setattr(program, "COMMANDS", {"stand-in": "stand_in", "absent": "cli.never_written"})
        monkeypatch.setattr(sys, "argv", ["holdfast", *(arguments or ["stand-in"])])
        with pytest.raises(SystemExit) as leaving:
            program.main()
        return int(leaving.value.code or 0), capsys.readouterr().err

    return run


def raises(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SettingsError("HOLDFAST_PORT is wrong"), 2),
        (EmbeddedError("no free port"), 1),
        (Unavailable("Redis is away"), 1),
        (ConnectionRefusedError(111, "Connection refused"), 1),
        (FileNotFoundError(2, "No such file", "catalogue.csv"), 1),
        (redis.ConnectionError("Error 111 connecting to 127.0.0.1:1"), 1),
        (redis.TimeoutError("no answer\nat all"), 1),
        (asyncpg.InvalidPasswordError("password authentication failed"), 1),
        (asyncpg.InvalidCatalogNameError("no database"), 1),
        (click.ClickException("no such file"), 1),
        (click.UsageError("that makes no sense"), 2),
    ],
)
def test_what_an_operator_can_mend_is_told_without_a_traceback(run: Run, error: Exception, status: int) -> None:
    ended, said = run(raises(error))
    assert ended == status
    assert "Traceback" not in said
    if not isinstance(error, click.UsageError):
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.ConnectionError("Error 111"), "Redis cannot be reached, see HOLDFAST_REDIS_URL: Error 111"),
        (ConnectionRefusedError(111, "no"), "PostgreSQL cannot be reached, see HOLDFAST_DATABASE_URL: [Errno 111] no"),
        (FileNotFoundError(2, "No such file", "a.csv"), "a.csv cannot be used: No such file"),
        (TimeoutError(), "PostgreSQL does not answer, see HOLDFAST_DATABASE_URL"),
        (asyncpg.UndefinedTableError("relation"), "the database is not migrated: run holdfast migrate"),
        (asyncpg.InsufficientPrivilegeError("permission denied for table"), "permission denied for table"),
    ],
)
def test_what_cannot_be_reached_is_named_with_its_variable(run: Run, error: Exception, said: str) -> None:
    assert run(raises(error))[1] == f"holdfast: {said}\n"


def test_the_status_that_a_command_asks_for_is_the_status_of_the_program(run: Run) -> None:
    assert run(raises(click.exceptions.Exit(3)))[0] == 3
    assert run(lambda: None)[0] == 0


def test_a_fault_of_the_program_keeps_its_traceback(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run(raises(ZeroDivisionError()))


@pytest.mark.parametrize("name", [*program.COMMANDS])
def test_every_command_is_there_and_explains_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["holdfast", name, "--help"])
    with pytest.raises(SystemExit) as leaving:
        program.main()
    assert leaving.value.code == 0
    assert f"Usage: holdfast {name}" in capsys.readouterr().out


def test_a_negative_wait_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["holdfast", "reconcile", "--wait", "-1"])
    with pytest.raises(SystemExit) as leaving:
        program.main()
    assert leaving.value.code == program.MISUSE
    assert "'--wait': -1.0 is not in the range x>=0" in capsys.readouterr().err
