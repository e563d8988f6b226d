"""`holdfast keys`: made once, listed without secrets, revoked."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from persistence.api_keys import hash_secret

ROOT = Path(__file__).resolve().parents[2]


def _keys(database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "keys", *arguments],
        cwd=ROOT,
        env={**environment, "HOLDFAST_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def _stored(database_url: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        return list(await connection.fetch("SELECT * FROM api_keys"))
    finally:
        await connection.close()


def test_a_secret_is_printed_once_and_only_its_hash_is_kept(clean_database_url: str) -> None:
    made = _keys(clean_database_url, "create", "--scope", "storefront", "--name", "shop")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("hf_")
    listed = _keys(clean_database_url, "list")
    assert "shop" in listed.stdout
    assert secret not in listed.stdout
    (row,) = asyncio.run(_stored(clean_database_url))
    assert row["secret_hash"] == hash_secret(secret)
    assert secret not in str(dict(row))


def test_a_list_without_keys_says_so(clean_database_url: str) -> None:
    listed = _keys(clean_database_url, "list")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "there are no keys" in listed.stderr


def test_every_command_speaks_json(clean_database_url: str) -> None:
    made = json.loads(_keys(clean_database_url, "create", "--scope", "operator", "--name", "ops", "--json").stdout)
    assert set(made) == {"key", "secret"}
    revoked = json.loads(_keys(clean_database_url, "revoke", made["key"]["id"], "--json").stdout)
    assert revoked["revoked_at"]
    listed = json.loads(_keys(clean_database_url, "list", "--json").stdout)
    assert listed == {"keys": [revoked]}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["create", "--scope", "everything", "--name", "x"], 2),
        (["create", "--scope", "operator"], 2),
        (["create", "--scope", "operator", "--name", " "], 2),
        (["create", "--scope", "operator", "--name", "x" * 101], 2),
        (["revoke", "key_none"], 1),
        (["revoke"], 2),
    ],
)
def test_what_cannot_be_done_ends_with_a_status_and_makes_no_key(
    clean_database_url: str, arguments: list[str], status: int
) -> None:
    ended = _keys(clean_database_url, *arguments)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr
    assert asyncio.run(_stored(clean_database_url)) == []
