"""Migrations: numbered SQL files, applied in order, each once, all of them in one transaction under a lock."""

from __future__ import annotations

import hashlib
from pathlib import Path

import asyncpg

from engine.errors import HoldfastError
from persistence.sql import queries

FOLDER = Path(__file__).parent / "migrations"
CONNECT_TIMEOUT_S = 10


OLDEST_MAJOR = 18


class MigrationError(HoldfastError):
    """The database is too old, or was migrated by other files than these."""


async def migrate(database_url: str) -> list[str]:
    """Apply what is missing and return the names of it; either all of it or, with an error, nothing."""
    sql = queries("migrations")
    connection = await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S)
    try:
        version = connection.get_server_version()
        if version.major < OLDEST_MAJOR:
            raise MigrationError(
                f"PostgreSQL {version.major}.{version.minor} is too old: {OLDEST_MAJOR} or newer is needed"
            )
        async with connection.transaction():
            await connection.execute(sql["lock_migrations"])
            await connection.execute(sql["create_migrations"])
            applied = {row["name"]: row["checksum"] for row in await connection.fetch(sql["list_migrations"])}
            fresh = _missing(applied)
            for path in fresh:
                text = path.read_text(encoding="utf-8")
                await connection.execute(text)
                await connection.execute(sql["record_migration"], path.name, _checksum(text))
            return [path.name for path in fresh]
    finally:
        await connection.close()


def _missing(applied: dict[str, str]) -> list[Path]:
    files = sorted(FOLDER.glob("*.sql"))
    unknown = applied.keys() - {path.name for path in files}
    if unknown:
        raise MigrationError(f"the database is newer than this program: it has {', '.join(sorted(unknown))}")
    for path in files:
        known = applied.get(path.name)
        if known is not None and known != _checksum(path.read_text(encoding="utf-8")):
            raise MigrationError(f"{path.name} was changed after it was applied")
    return [path for path in files if path.name not in applied]


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
