"""Carts in PostgreSQL: as Redis has them, the last version only, and no longer than anybody may ask for them."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest

from engine import cart_lines
from engine.carts import ID_PREFIX, CartRecord, decode_cart
from engine.events import CartChanged, Event
from engine.plans import Answer
from persistence import carts, quarantine
from persistence.flush import apply_events, drain_once
from tests.shop import CATALOGUE, cart_in_redis, change_cart, checkout, fill_cart, place_order, stock_up, text_of
from tests.system import System

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_each_way")]


async def stored(system: System) -> dict[str, CartRecord]:
    """Every cart that PostgreSQL has, by token."""
    rows = await system.pool.fetch("SELECT id, record FROM carts")
    return {row["id"].removeprefix(ID_PREFIX): decode_cart(row["record"]) for row in rows}


async def test_the_stored_cart_is_the_one_in_redis_after_each_of_its_changes(system: System) -> None:
    await stock_up(system)
    token = await fill_cart(system, {"MUG": 2}, customer="bob")
    judgements: list[Any] = [
        partial(cart_lines.set_quantity, sku="MUG", quantity=5),
        partial(cart_lines.attach_coupon, code="TEN"),
        partial(cart_lines.set_quantity, sku="MUG", quantity=0),
    ]
    for version, judge in enumerate(judgements, 3):
        await change_cart(system, token, judge)
        await system.flush()
        record = await cart_in_redis(system, token)
        row = await system.pool.fetchrow("SELECT * FROM carts")
        assert row is not None
        assert row["record"] == await text_of(system, system.keys.cart(token))
        assert (row["id"], row["customer_id"], row["status"], row["version"]) == (
            f"cart_{token}",
            "bob",
            "open",
            version,
        )
        assert row["expires_at"] == record.expires_ms > row["updated_at"] >= record.created_ms
    assert (await system.audit()).is_clean


async def test_many_changes_within_one_flush_leave_the_last_one_of_each_cart(system: System) -> None:
    await stock_up(system)
    tokens = [await fill_cart(system, {"MUG": 1, "SHIRT-L": 2}, customer=name) for name in ("bob", "eve", None)]
    assert isinstance(await system.desk.check_out(CATALOGUE, tokens[0], checkout()), Answer)
    assert isinstance(await system.desk.check_out(CATALOGUE, tokens[1], checkout(is_pending=True)), Answer)
    await system.flush()
    assert await stored(system) == {token: await cart_in_redis(system, token) for token in tokens}
    assert [(await stored(system))[token].status for token in tokens] == ["ordered", "paying", "open"]
    guest = await system.pool.fetchval("SELECT customer_id FROM carts WHERE status = 'open'")
    assert guest is None


async def test_a_merge_stores_both_carts(system: System) -> None:
    await stock_up(system)
    target = await fill_cart(system, {"MUG": 1}, customer="bob")
    source = await fill_cart(system, {"MUG": 1, "SHIRT-L": 2})
    assert isinstance(await system.desk.merge(CATALOGUE, target, source), Answer)
    await system.flush()
    found = await stored(system)
    assert found == {token: await cart_in_redis(system, token) for token in (target, source)}
    assert [(line.sku, line.quantity) for line in found[target].lines] == [("MUG", 2), ("SHIRT-L", 2)]
    assert found[source].status == "merged"
    assert (await system.audit()).is_clean


async def test_events_that_are_seen_again_change_no_cart(system: System) -> None:
    await stock_up(system)
    await fill_cart(system, {"MUG": 1}, customer="bob")
    await place_order(system, {"SHIRT-L": 2}, customer="eve")
    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 1_000)
        before = await connection.fetch("SELECT * FROM carts ORDER BY id")
        await connection.execute("UPDATE flush_offsets SET seq = 0")
        await drain_once(connection, system.raw, system.keys, 1_000)
        assert await connection.fetch("SELECT * FROM carts ORDER BY id") == before


async def test_carts_that_are_seen_again_among_new_ones_change_nothing_and_the_new_ones_come(system: System) -> None:
    old = await fill_cart(system, {}, customer="bob")
    await system.flush()
    before = await system.pool.fetchrow("SELECT * FROM carts")
    new = await fill_cart(system, {}, customer="eve")
    carts_seen = [(token, await cart_in_redis(system, token)) for token in (old, new)]
    bodies = [CartChanged(token, record) for token, record in carts_seen]
    events = [Event(system.fence.epoch, seq, 1, "cart", body) for seq, body in enumerate(bodies, 100)]
    async with system.pool.acquire() as connection:
        assert await apply_events(connection, system.keys.shard, events) == []
    assert await system.pool.fetchrow("SELECT * FROM carts WHERE customer_id = 'bob'") == before
    assert await stored(system) == dict(carts_seen)


async def test_an_older_version_that_is_replayed_late_does_not_replace_a_newer_one(system: System) -> None:
    await stock_up(system)
    token = await fill_cart(system, {}, customer="bob")
    first = await cart_in_redis(system, token)
    await fill_cart(system, {"MUG": 2}, customer="bob")
    await system.flush()
    newest = await stored(system)
    await system.pool.execute(
        "INSERT INTO flush_quarantine (shard, epoch, seq, happened_at, kind, payload, reason)"
        " VALUES (0, 1, 99, now(), 'cart', $1, 'held back')",
        msgspec.json.encode((token, first)).decode(),
    )
    assert await quarantine.replay(system.pool, 0, 1, 99) == quarantine.Replay(1, None)
    assert await stored(system) == newest


@pytest.mark.parametrize("part_size", [1, 5_000])
async def test_carts_that_ran_out_or_were_closed_are_forgotten_after_the_retention_and_no_others(
    system: System, monkeypatch: pytest.MonkeyPatch, part_size: int
) -> None:
    monkeypatch.setattr(carts, "PURGED_AT_ONCE", part_size)
    await stock_up(system)
    names = ("old and open", "open", "closed long ago", "just closed", "ran out long ago", "just ran out")
    tokens = {name: await fill_cart(system, {"MUG": 1}, customer=name) for name in names}
    for name in ("closed long ago", "just closed"):
        assert isinstance(await system.desk.check_out(CATALOGUE, tokens[name], checkout()), Answer)
    await system.flush()

    async def age(column: str, interval: str, *aged: str) -> None:
        await system.pool.execute(
            f"UPDATE carts SET {column} = now() - interval '{interval}' WHERE customer_id = ANY ($1)",  # noqa: S608
            list(aged),
        )

    await age("updated_at", "9 days", "old and open", "closed long ago")
    await age("expires_at", "25 hours", "ran out long ago")
    await age("expires_at", "23 hours", "just ran out")
    await age("updated_at", "23 hours", "just closed")
    assert await carts.purge(system.pool, 86_400) == 2
    left = await stored(system)
    assert {name for name in names if tokens[name] in left} == {"old and open", "open", "just closed", "just ran out"}
