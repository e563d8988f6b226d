"""Migrations are applied once, in order, all or none, and only by files that the database knows."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from persistence import migrate as migration
from persistence.holds import lines_of
from persistence.migrate import MigrationError, migrate
from tests.databases import run_statements

pytestmark = pytest.mark.anyio

NAMES = sorted(path.name for path in migration.FOLDER.glob("*.sql"))


@pytest.fixture
async def bare_url(clean_database_url: str) -> str:
    """A database with nothing in it."""
    await run_statements(clean_database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return clean_database_url


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program's migrations, in a folder where they may be changed."""
    copy = tmp_path / "migrations"
    shutil.copytree(migration.FOLDER, copy)
    monkeypatch.setattr(migration, "FOLDER", copy)
    return copy


async def fetch(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def tables(url: str) -> set[str]:
    rows = await fetch(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_an_empty_database_gets_every_migration_and_the_second_time_none(bare_url: str) -> None:
    assert await migrate(bare_url) == NAMES
    there = await tables(bare_url)
    assert {"stock_levels", "stock_ledger", "holds", "flush_offsets", "schema_migrations"} <= there
    assert await migrate(bare_url) == []
    assert await tables(bare_url) == there


async def test_several_migrators_at_once_apply_each_migration_once(bare_url: str) -> None:
    applied = await asyncio.gather(*(migrate(bare_url) for _ in range(4)))
    assert sorted(applied) == [[], [], [], NAMES]


async def test_only_what_is_missing_is_applied_and_in_the_order_of_the_names(bare_url: str, folder: Path) -> None:
    await migrate(bare_url)
    (folder / "9002_second.sql").write_text("ALTER TABLE later ADD COLUMN more integer;")
    (folder / "9001_first.sql").write_text("CREATE TABLE later (id integer);")
    assert await migrate(bare_url) == ["9001_first.sql", "9002_second.sql"]
    assert "later" in await tables(bare_url)


async def test_a_migration_that_fails_takes_all_of_its_companions_back(bare_url: str, folder: Path) -> None:
    (folder / "9001_broken.sql").write_text("CREATE TABLE half (id integer); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(bare_url)
    assert await tables(bare_url) == set()
    (folder / "9001_broken.sql").unlink()
    assert await migrate(bare_url) == NAMES


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(
    clean_database_url: str, folder: Path
) -> None:
    with (folder / NAMES[0]).open("a") as file:
        file.write("-- an afterthought\n")
    (folder / "9001_new.sql").write_text("CREATE TABLE never (id integer);")
    with pytest.raises(MigrationError, match=f"{NAMES[0]} was changed after it was applied"):
        await migrate(clean_database_url)
    assert "never" not in await tables(clean_database_url)


async def test_a_database_that_is_newer_than_the_program_is_refused(clean_database_url: str) -> None:
    await run_statements(
        clean_database_url, "INSERT INTO schema_migrations (name, checksum) VALUES ('9999_of_tomorrow.sql', '')"
    )
    with pytest.raises(MigrationError, match=r"newer than this program: it has 9999_of_tomorrow\.sql"):
        await migrate(clean_database_url)


async def test_the_lines_of_holds_that_were_there_before_they_moved_are_found_where_they_were(
    bare_url: str, folder: Path
) -> None:
    later = [folder / name for name in NAMES if name >= "0009"]
    texts = [path.read_text() for path in later]
    for path in later:
        path.unlink()
    await migrate(bare_url)
    await run_statements(
        bare_url,
        "INSERT INTO holds (id, status, created_at, expires_at, ttl_ms, fingerprint)"
        " VALUES ('hold_a', 'held', now(), now(), 1, 'f'), ('hold_b', 'held', now(), now(), 1, 'f'),"
        " ('hold_none', 'held', now(), now(), 1, 'f')",
        "INSERT INTO hold_lines (hold_id, position, sku, quantity)"
        " VALUES ('hold_b', 1, 'A', 2147483647), ('hold_b', 0, 'B:1.x_-', 1), ('hold_a', 0, '„\"\\', 10000)",
        "INSERT INTO stock_ledger (sku, shard, epoch, seq, kind, delta_available, delta_reserved, delta_sold, at)"
        " VALUES ('A', 0, 3, 42, 'reserve', -1, 1, 0, now())",
    )
    lines = "SELECT hold_id, position, sku, quantity FROM hold_lines ORDER BY hold_id, position"
    before = await fetch(bare_url, lines), await fetch(bare_url, "SELECT sku, event_id FROM stock_ledger")
    for path, text in zip(later, texts, strict=True):
        path.write_text(text)
    await migrate(bare_url)
    assert before == (await fetch(bare_url, lines), await fetch(bare_url, "SELECT sku, event_id FROM stock_ledger"))
    held = {row["id"]: lines_of(row) for row in await fetch(bare_url, "SELECT id, lines FROM holds")}
    assert held == {
        "hold_a": (('„"\\', 10_000),),
        "hold_b": (("B:1.x_-", 1), ("A", 2_147_483_647)),
        "hold_none": (),
    }


async def test_a_server_that_is_too_old_is_refused_and_left_as_it_is(
    bare_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "OLDEST_MAJOR", 99)
    with pytest.raises(MigrationError, match=r"PostgreSQL \d+\.\d+ is too old: 99 or newer is needed"):
        await migrate(bare_url)
    assert await tables(bare_url) == set()
