"""A migrated PostgreSQL of a test's own, which it may stop and start again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.embedded import EmbeddedPostgres
from persistence.migrate import migrate
from tests.conftest import QUICK


@contextmanager
def own_postgres(*, log_path: Path | None = None, **options: str) -> Iterator[EmbeddedPostgres]:
    """`options` are the server's own, beside those that make it quick."""
    with tempfile.TemporaryDirectory(prefix="holdfast-postgres-", ignore_cleanup_errors=True) as data_dir:
        server = EmbeddedPostgres(Path(data_dir), log_path=log_path, options={**QUICK, **options})
        try:
            server.start()
            server.wait_ready()
            asyncio.run(migrate(server.url))
            yield server
        finally:
            server.stop()
