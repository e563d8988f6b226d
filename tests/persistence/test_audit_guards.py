"""Guards of the audit and of the mending of orphans; each test fails when its guard is taken away."""

from __future__ import annotations

import pytest

from tests.system import System

pytestmark = pytest.mark.anyio


async def test_counts_that_agree_with_each_other_but_not_with_the_holds_are_found(system: System) -> None:
    await system.create("A", 10)
    hold = (await system.hold("A", 2)).hold
    await system.flush()
    await system.pool.execute("UPDATE holds SET status = 'released', settled_at = now() WHERE id = $1", hold.id)
    (difference,) = (await system.audit()).differences
    assert difference.between == "reserved units and live holds in PostgreSQL"


async def test_counts_that_agree_with_redis_but_not_with_the_ledger_are_found(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.pool.execute("UPDATE stock_ledger SET delta_available = 9")
    (difference,) = (await system.audit()).differences
    assert difference.between == "PostgreSQL's counts and its ledger"


async def test_a_sku_that_only_one_side_has_is_found(system: System) -> None:
    await system.create("A", 10)
    await system.flush()
    await system.raw.hset(system.keys.stock, "GHOST", "[1,0,0,1,0]")
    assert [difference.sku for difference in (await system.audit()).differences] == ["GHOST"]
    await system.raw.hdel(system.keys.stock, "GHOST", "A")
    assert [difference.sku for difference in (await system.audit()).differences] == ["A"]
