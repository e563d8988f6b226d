"""Answers to keyed changes of the catalogue: written in the transaction of their effect, so both are there or none."""

from __future__ import annotations

from msgspec import Struct

from persistence.pool import Connection, Pool
from persistence.sql import queries


class KeyedChange(Struct, frozen=True):
    """A change that its client named: whose key it is, of which verb, and the fingerprint of its payload."""

    client: str
    verb: str
    key: str
    fingerprint: str


class Remembered(Struct, frozen=True):
    """The first answer: status, JSON body and ETag; `fingerprint` is of the payload that it answered."""

    fingerprint: str
    status: int
    body: bytes
    etag: str | None


async def recall(connection: Connection, keyed: KeyedChange) -> Remembered | None:
    """What this key was answered. Ask under the lock of the catalogue, so that a concurrent retry waits its turn."""
    row = await connection.fetchrow(queries("idempotency")["find_answer"], keyed.client, keyed.verb, keyed.key)
    return None if row is None else Remembered(row["fingerprint"], row["status"], row["body"].encode(), row["etag"])


async def remember(connection: Connection, keyed: KeyedChange, status: int, body: bytes, etag: str | None) -> None:
    """Keep the answer for `purge` to forget, at the earliest a day later."""
    await connection.execute(
        queries("idempotency")["insert_answer"],
        keyed.client,
        keyed.verb,
        keyed.key,
        keyed.fingerprint,
        status,
        body.decode(),
        etag,
    )


async def purge(pool: Pool, retention_s: int) -> None:
    """Forget answers older than `retention_s` seconds."""
    await pool.execute(queries("idempotency")["delete_old_answers"], retention_s)
