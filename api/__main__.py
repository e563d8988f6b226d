"""`python -m api [--fd N]`: one process of the HTTP API."""

from __future__ import annotations

import argparse
import sys

from api.process.logs import set_up_logging
from api.serving.server import serve
from engine.settings import SettingsError, read_settings


def main() -> None:
    """Read the settings and serve. Exit status 2 for settings that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve Holdfast's HTTP API.")
    parser.add_argument("--fd", type=int, help="serve on this inherited listening socket")
    arguments = parser.parse_args()
    try:
        settings = read_settings()
        settings.require_redis_url()
        settings.require_database_url()
    except SettingsError as error:
        sys.stderr.write(f"holdfast api: {error}\n")
        sys.exit(2)
    set_up_logging(settings)
    try:
        serve(settings, arguments.fd)
    except OSError as error:
        sys.stderr.write(f"holdfast api: cannot serve: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
