"""The roles of deploy/postgres: what each may do, and what it is denied, on a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from persistence import sql
from persistence.sql import queries
from tests.access.database import passwords, role_url, run_sql_file
from tests.databases import with_database

FOLDER = Path(sql.__file__).parent
CATALOGUE = {"categories", "products", "variants", "pricing_rules", "coupons"}

# What each role may do with each table, as PostgreSQL abbreviates it: r(ead), a(ppend), w(rite), d(elete). A table of a
# new migration belongs here and in grants.sql.
MAY: dict[str, dict[str, str]] = {
    "holdfast_api": dict.fromkeys(CATALOGUE, "rawd")
    | dict.fromkeys(("catalogue_deletions", "idempotency"), "ra")
    | {"catalogue_version": "rw", "api_keys": "r", "installation": "r", "flush_offsets": "r", "audits": "r"}
    | dict.fromkeys(("stock_levels", "stock_ledger", "holds", "hold_lines", "orders"), "r"),
    "holdfast_worker": dict.fromkeys((*CATALOGUE, "catalogue_version", "installation", "hold_lines"), "r")
    | dict.fromkeys(("stock_ledger", "order_items"), "ra")
    | dict.fromkeys(("flush_offsets", "audits", "stock_levels", "holds", "orders", "flush_quarantine"), "raw")
    | dict.fromkeys(("operation_memories", "carts", "flush_steps"), "rawd")
    | dict.fromkeys(("catalogue_deletions", "idempotency"), "rd"),
    "holdfast_operator": {"api_keys": "ra"},  # and the column revoked_at
    "holdfast_reader": dict.fromkeys(
        ("stock_levels", "stock_ledger", "holds", "hold_lines", "orders", "order_items", "flush_offsets", "audits"), "r"
    ),
}
OWNERS_ALONE = {"schema_migrations"}

# Which roles run the queries of each file, and where single queries of it differ.
API, WORKER, OPERATOR = "holdfast_api", "holdfast_worker", "holdfast_operator"
RUN_BY: dict[str, set[str]] = (
    {
        "api_keys": {OPERATOR},
        "api_keys.find_key": {API},
        "audit": {WORKER, OPERATOR},
        "audit.read_last_audit": {API},
        "carts": {WORKER},
        "catalogue": {API},
        "catalogue.read_version": {API, WORKER},
        "catalogue.list_deletions_since": {API, WORKER},
        "catalogue.begin_change": {API, OPERATOR},
        "catalogue.delete_old_deletions": {WORKER},
        "flush": {WORKER, OPERATOR},
        "flush.read_offset": {API, WORKER, OPERATOR},
        "holds": {WORKER},
        "holds.find_holds": {API, WORKER},
        "idempotency": {API},
        "idempotency.delete_old_answers": {WORKER},
        "imports": {OPERATOR},
        "migrations": {"holdfast_owner"},
        "orders": {API},
        "orders.list_known": {WORKER},
        "orders.upsert_orders": {WORKER},
        "orders.insert_items": {WORKER},
        "orders.find_order": {API, WORKER},
        "quarantine": {OPERATOR},
        "quarantine.count_quarantined": {WORKER, OPERATOR},
        "repair": {WORKER, OPERATOR},
        "rebuild": {WORKER, OPERATOR},
        "rebuild.read_installation": {API, WORKER, OPERATOR},
        "stock": {API},
    }
    | {f"{kind}": {API, OPERATOR} for kind in CATALOGUE}
    | {f"{kind}.list_since": {API, WORKER} for kind in CATALOGUE}
)

DENIED: dict[str, list[str]] = {
    "holdfast_api": [
        "INSERT INTO stock_ledger (sku) VALUES ('x')",
        "UPDATE stock_levels SET sold = 0",
        "UPDATE orders SET status = 'completed'",
        "DELETE FROM holds",
        "UPDATE flush_offsets SET seq = 0",
        "UPDATE audits SET differences = 0",
        "INSERT INTO api_keys (id, name, scope, secret_hash) VALUES ('k', 'k', 'operator', '')",
        "UPDATE api_keys SET revoked_at = NULL",
        "DELETE FROM idempotency",
        "SELECT * FROM operation_memories",
        "UPDATE installation SET id = 'x'",
    ],
    "holdfast_worker": [
        "SELECT * FROM api_keys",
        "DELETE FROM audits",
        "UPDATE stock_ledger SET delta_sold = 0",
        "DELETE FROM stock_ledger",
        "DELETE FROM orders",
        "UPDATE order_items SET quantity = 1",
        "UPDATE products SET base_price = 0",
        "UPDATE pricing_rules SET percent = 100",
        "INSERT INTO coupons (id) VALUES ('x')",
        "INSERT INTO idempotency (client) VALUES ('x')",
    ],
    "holdfast_operator": [
        "UPDATE stock_ledger SET delta_sold = 0",
        "DELETE FROM stock_ledger",
        "UPDATE api_keys SET secret_hash = ''",
        "UPDATE api_keys SET scope = 'operator'",
        "DELETE FROM api_keys",
        "UPDATE installation SET id = 'x'",
    ],
    "holdfast_reader": [
        "SELECT secret_hash FROM api_keys",
        "SELECT id FROM api_keys",
        "SELECT * FROM operation_memories",
        "SELECT * FROM idempotency",
        "SELECT * FROM carts",
        "SELECT * FROM coupons",
        "UPDATE orders SET status = 'completed'",
        "UPDATE stock_levels SET sold = 0",
        "UPDATE audits SET at = now()",
    ],
}
NOBODYS = [
    "CREATE TABLE public.mine (a int)",
    "CREATE SCHEMA mine",
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE ROLE mine",
    "DROP TABLE orders",
    "TRUNCATE stock_ledger",
    "ALTER TABLE orders ADD COLUMN mine int",
    "ALTER ROLE holdfast_owner PASSWORD 'x'",
    "ALTER TABLE api_keys OWNER TO holdfast_api",
    "SET ROLE holdfast_owner",
    "SET ROLE postgres",
    "COPY orders TO PROGRAM 'cat'",
    "COPY orders TO '/tmp/orders'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_authid",
    "SELECT * FROM schema_migrations",
    "CREATE TRIGGER mine BEFORE INSERT ON orders EXECUTE FUNCTION suppress_redundant_updates_trigger()",
]


def all_queries() -> Iterator[tuple[str, str]]:
    """Each named query with each role that runs it."""
    for file in sorted(path.stem for path in FOLDER.glob("*.sql")):
        for name in queries(file):
            for role in sorted(RUN_BY.get(f"{file}.{name}", RUN_BY.get(file, set()))):
                yield f"{file}.{name}", role


def test_every_query_has_somebody_who_runs_it() -> None:
    files = {path.stem: queries(path.stem) for path in FOLDER.glob("*.sql")}
    assert [file for file in files if file not in RUN_BY] == []
    known = {*files, *(f"{file}.{name}" for file, named in files.items() for name in named)}
    assert set(RUN_BY) <= known


@pytest.mark.parametrize(("query", "role"), sorted(all_queries()))
def test_a_role_may_run_its_queries(roles_url: str, query: str, role: str) -> None:
    file, _, name = query.partition(".")
    text = queries(file)[name]
    # EXPLAIN judges the privileges of a statement without running it; this one cannot be explained, and runs again.
    statement = text if query == "migrations.create_migrations" else f"EXPLAIN (GENERIC_PLAN) {text}"
    as_role(roles_url, role, statement, "SELECT 1")


def test_each_role_has_its_privileges_on_each_table_and_no_others(roles_url: str) -> None:
    tables = {
        row["relname"]: row["acl"] or []
        for row in as_superuser(
            roles_url,
            "SELECT relname, relacl::text[] AS acl FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')",
        )
    }
    found: dict[str, dict[str, str]] = {}
    for table, entries in tables.items():
        for entry in entries:
            role, letters = re.match(r"([^=]*)=([^/]*)/", entry).groups()  # type: ignore[union-attr]
            if role != "holdfast_owner":
                found.setdefault(role, {})[table] = letters
    assert {role: _sorted(given) for role, given in found.items()} == {
        role: _sorted(given) for role, given in MAY.items()
    }
    granted = {table for given in MAY.values() for table in given}
    assert set(tables) - granted == OWNERS_ALONE, "a table that no role may use: name it in grants.sql, or here"


def _sorted(given: dict[str, str]) -> dict[str, list[str]]:
    return {table: sorted(letters) for table, letters in given.items()}


@pytest.mark.parametrize("role", sorted(MAY))
@pytest.mark.parametrize("statement", NOBODYS)
def test_nobody_may_change_the_schema_or_reach_beyond_it(roles_url: str, role: str, statement: str) -> None:
    assert_denied(roles_url, role, statement)


@pytest.mark.parametrize(("role", "statement"), [(role, each) for role, given in DENIED.items() for each in given])
def test_what_is_not_a_roles_part_is_denied(roles_url: str, role: str, statement: str) -> None:
    assert_denied(roles_url, role, statement)


def test_no_role_is_more_than_a_role(roles_url: str) -> None:
    rows = as_superuser(roles_url, "SELECT * FROM pg_roles WHERE rolname LIKE 'holdfast%' ORDER BY rolname")
    assert [row["rolname"] for row in rows] == sorted(["holdfast_owner", *MAY])
    for row in rows:
        powers = ("rolsuper", "rolcreatedb", "rolcreaterole", "rolreplication", "rolbypassrls")
        assert not any(row[power] for power in powers), row
        assert row["rolcanlogin"] == (row["rolname"] != "holdfast_reader")
    members = as_superuser(
        roles_url,
        "SELECT roleid::regrole::text AS role, member::regrole::text AS member FROM pg_auth_members"
        " WHERE member::regrole::text LIKE 'holdfast%' ORDER BY 1",
    )
    assert [tuple(row) for row in members] == [(API, OPERATOR), (WORKER, OPERATOR)]


def test_a_stranger_of_the_same_server_may_not_come_in(roles_url: str) -> None:
    as_superuser(roles_url, "DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            as_superuser(role_url(roles_url, "api").replace("holdfast_api@", "stranger@"), "SELECT 1")
    finally:
        as_superuser(roles_url, "DROP ROLE stranger")


def test_running_the_files_again_sets_passwords_anew_and_changes_nothing_else(roles_url: str) -> None:
    state = "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'holdfast_api'"
    before, password = as_superuser(roles_url, state), as_superuser(roles_url, stored)[0][0]
    given = passwords()
    for done in (
        run_sql_file(roles_url, "roles.sql", **given),
        run_sql_file(role_url(roles_url, "owner"), "grants.sql"),
    ):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert as_superuser(roles_url, state) == before
    fresh = as_superuser(roles_url, stored)[0][0]
    assert fresh.startswith("SCRAM-SHA-256$")
    assert fresh != password


@pytest.mark.parametrize("missing", sorted(passwords()))
def test_roles_are_not_made_while_a_password_is_missing(database_url: str, missing: str) -> None:
    given = passwords()
    del given[missing]
    done = run_sql_file(with_database(database_url, "postgres"), "roles.sql", **given)
    assert done.returncode != 0
    assert not any(password in done.stdout + done.stderr for password in given.values())


def as_superuser(url: str, *statements: str) -> list[asyncpg.Record]:
    """The answer to the last of these statements."""
    return asyncio.run(_ask(url, statements))


def as_role(url: str, role: str, *statements: str) -> list[asyncpg.Record]:
    """The same, asked by this role; one that has no login is taken on by the superuser."""
    if role == "holdfast_reader":
        return as_superuser(url, "SET SESSION AUTHORIZATION holdfast_reader", *statements)
    return asyncio.run(_ask(role_url(url, role.removeprefix("holdfast_")), statements))


def assert_denied(url: str, role: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        as_role(url, role, statement)


async def _ask(url: str, statements: Sequence[str]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        *first, last = statements
        for statement in first:
            await connection.execute(statement)
        return list(await connection.fetch(last))
    finally:
        await connection.close()
