"""A database with the roles of a deployment, made by deploy/postgres as the deployment makes it."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from cli.embedded import postgres_binaries
from persistence.migrate import migrate

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "postgres"
WITH_PASSWORD = ("owner", "api", "worker", "operator")


def run_sql_file(url: str, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """psql with a file of deploy/postgres and these variables."""
    return subprocess.run(
        [postgres_binaries() / "psql", "--no-psqlrc", "--quiet", "--dbname", url, "--file", str(DEPLOY / name)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def passwords() -> dict[str, str]:
    """The variables that roles.sql reads."""
    return {f"POSTGRES_{role.upper()}_PASSWORD": secrets.token_hex(16) for role in WITH_PASSWORD}


def prepare(superuser_url: str) -> None:
    """Roles, migrations and grants, in the order of the deployment, on an empty database."""
    for done in (run_sql_file(superuser_url, "roles.sql", **passwords()),):
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    asyncio.run(migrate(role_url(superuser_url, "owner")))
    granted = run_sql_file(role_url(superuser_url, "owner"), "grants.sql")
    assert (granted.returncode, granted.stderr) == (0, ""), granted.stderr


def role_url(superuser_url: str, role: str) -> str:
    """The same database as another role; the embedded server asks nobody for a password."""
    parts = urlsplit(superuser_url)
    return urlunsplit(parts._replace(netloc=f"holdfast_{role}@{parts.hostname}:{parts.port}"))
