"""Where reports go: checked before a run begins, so that none is lost at its end."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click


def check_file(path: Path, option: str) -> None:
    """Refuse a file that could not be written; what is in one that is there stays. Raises click.ClickException."""
    try:
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise click.ClickException(_refusal(path, option, error)) from None


def check_folder(path: Path, option: str) -> None:
    """Make the folder if it is not there, and refuse one that takes no files. Raises click.ClickException."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise click.ClickException(_refusal(path, option, error)) from None


def _refusal(path: Path, option: str, error: OSError) -> str:
    return f"{option} {path} cannot be written ({error.strerror or error}): name another place"
