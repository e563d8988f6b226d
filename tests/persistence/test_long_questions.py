"""Questions about everything that ever happened may take longer than any other: audits and rebuilds of a large shop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.settings import Settings
from jobs.reconcile import run
from tests.databases import run_statements
from tests.system import System, open_system, reserve

pytestmark = pytest.mark.anyio

LONGER_S = 0.6


@pytest.fixture
async def hasty(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    """A system whose questions must be answered within half a second."""
    monkeypatch.setattr("persistence.pool.COMMAND_TIMEOUT_S", 0.5)
    async with open_system(settings) as opened:
        await opened.create("A", 10, customer_limit=5)
        await opened.shard.reserve(reserve("A", 2, customer="ada"))
        await opened.flush()
        yield opened


async def test_an_audit_waits_for_a_ledger_that_takes_long_to_sum_up(hasty: System) -> None:
    await slow_down(hasty, "stock_ledger")
    with pytest.raises(TimeoutError):
        await hasty.pool.fetch("SELECT count(*) FROM stock_ledger")
    assert (await run(hasty.settings, fix=False)).audit.is_clean


async def test_counts_are_mended_from_a_ledger_that_takes_long_to_sum_up(hasty: System) -> None:
    await hasty.pool.execute("UPDATE stock_levels SET available = available + 1, received = received + 1")
    await slow_down(hasty, "stock_ledger")
    mended = await run(hasty.settings, fix=True)
    assert (mended.levels_mended, mended.audit.is_clean) == (1, True)


async def test_a_rebuild_waits_for_holds_that_take_long_to_sum_up(hasty: System) -> None:
    await slow_down(hasty, "holds")
    await hasty.raw.flushall()
    await hasty.verify()
    (level,) = (await hasty.shard.stock_of(["A"])).values()
    assert (level.available, level.reserved) == (8, 2)


async def slow_down(system: System, table: str) -> None:
    """Let each reading of a table take LONGER_S."""
    slept = f"(SELECT pg_sleep({LONGER_S})::text) AS slept (at_last)"
    await run_statements(
        system.settings.require_database_url(),
        f"ALTER TABLE {table} RENAME TO {table}_rows",
        f"CREATE VIEW {table} AS SELECT * FROM {table}_rows CROSS JOIN {slept}",  # noqa: S608 - the test's own words
    )
