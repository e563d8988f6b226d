"""Databases for tests: made from a template, and emptied for the next test as long as nobody changed their shape."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from msgspec import Struct

# What DDL writes anew. VACUUM and ANALYZE change their rows in place and do not show.
SHAPE = """
SELECT md5(string_agg(place || ':' || made, ',' ORDER BY place, made)) FROM (
    SELECT 'class ' || oid, xmin::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'column ' || attrelid || ' ' || attnum, a.xmin::text
        FROM pg_attribute a JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'constraint ' || oid, xmin::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'function ' || oid, xmin::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'trigger ' || oid, xmin::text FROM pg_trigger
    UNION ALL SELECT 'rule ' || oid, xmin::text FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT 'schema ' || oid, xmin::text FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'database ' || oid, xmin::text FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'setting ' || setdatabase || ' ' || setrole, xmin::text FROM pg_db_role_setting
) AS shape (place, made)
"""

TABLES = "SELECT format('%I', relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"

ROWS = "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t::text), '[]')::text FROM {0} t"

ALONE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

EMPTY = """
DO $$
DECLARE
    name text;
    is_filled boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOREACH name IN ARRAY '{tables}'::text[] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO is_filled;
        IF is_filled THEN
            EXECUTE format('DELETE FROM %s', name);
        END IF;
    END LOOP;
    PERFORM setval(format('%I', sequencename)::regclass, start_value, false)
        FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;
END $$
"""

FILL = "INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::{0}, $1::jsonb)"


class Pristine(Struct, frozen=True):
    """What a database was when it was made: its shape, its tables, and the rows that migrations put into them."""

    shape: str
    tables: list[str]
    rows: dict[str, str]


class CleanDatabase:
    """One database after another under one name: each copied from the template, or the one before, emptied.

    Copying takes a quarter of a second. Emptying takes a tenth of that, and is as good where a test wrote rows only.
    """

    def __init__(self, server_url: str, template: str, name: str) -> None:
        self._server_url = server_url
        self._template = template
        self._name = name
        self._pristine: Pristine | None = None

    def clean(self) -> str:
        """Its URL, with nothing in it but what migrations bring. Whoever is still connected is thrown out."""
        url = with_database(self._server_url, self._name)
        if self._pristine is None or not asyncio.run(_emptied(url, self._pristine)):
            recreate(self._server_url, self._name, self._template)
            self._pristine = asyncio.run(_pristine(url))
        return url


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def recreate(server_url: str, name: str, template: str = "template0") -> None:
    """Make a database in the place of any of that name."""
    drop(server_url, name)
    execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")


def drop(server_url: str, name: str) -> None:
    """Remove a database, if there is one, under whoever is connected."""
    execute(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    asyncio.run(run_statements(url, *statements))


async def run_statements(url: str, *statements: str) -> None:
    """The same within a loop that runs."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _pristine(url: str) -> Pristine:
    connection = await asyncpg.connect(url)
    try:
        tables: list[str] = [row[0] for row in await connection.fetch(TABLES)]
        rows = {table: await connection.fetchval(ROWS.format(table)) for table in tables}
        return Pristine(
            await connection.fetchval(SHAPE), tables, {table: text for table, text in rows.items() if text != "[]"}
        )
    finally:
        await connection.close()


async def _emptied(url: str, pristine: Pristine) -> bool:
    """Leave in it what was there when it was made; False when it has another shape by now, or is gone."""
    try:
        connection: Any = await asyncpg.connect(url)
    except asyncpg.InvalidCatalogNameError:
        return False
    try:
        await connection.execute(ALONE)
        if await connection.fetchval(SHAPE) != pristine.shape:
            return False
        changed = [
            table for table, rows in pristine.rows.items() if await connection.fetchval(ROWS.format(table)) != rows
        ]
        doubtful = [table for table in pristine.tables if table not in pristine.rows or table in changed]
        async with connection.transaction():
            await connection.execute(EMPTY.replace("{tables}", "{" + ",".join(doubtful) + "}"))
            for table in changed:
                await connection.execute(FILL.format(table), pristine.rows[table])
        return True
    finally:
        await connection.close()
