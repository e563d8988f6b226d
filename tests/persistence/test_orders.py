"""Orders in PostgreSQL: as they were answered, each once, with their items and their units in the ledger."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest
from msgspec.structs import asdict, replace

from engine.idempotency import fresh_token
from engine.orders import Order, OrderStatus, PaymentStatus
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from persistence import orders, quarantine
from persistence.flush import drain_once
from tests.shop import CATALOGUE, LIMIT, ON_HAND, checkout, fill_cart, move, order_in_redis, pay, place_order, stock_up
from tests.shop import text_of as redis_text
from tests.system import System

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_each_way")]

CREATED, PROCESSING, SHIPPED = OrderStatus.CREATED, OrderStatus.PROCESSING, OrderStatus.SHIPPED
DELIVERED, COMPLETED = OrderStatus.DELIVERED, OrderStatus.COMPLETED
CANCELED, RETURNED = OrderStatus.CANCELED, OrderStatus.RETURNED
TABLES = ("orders", "order_items", "carts", "stock_levels", "stock_ledger", "holds", "flush_quarantine")


async def everything(system: System) -> list[Any]:
    return [await system.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in TABLES]  # noqa: S608


async def row_of(system: System, order: Order) -> asyncpg.Record:
    row = await system.pool.fetchrow("SELECT * FROM orders WHERE id = $1", order.id)
    assert row is not None
    return row


async def items_of(system: System, order: Order) -> list[asyncpg.Record]:
    return await system.pool.fetch("SELECT * FROM order_items WHERE order_id = $1 ORDER BY position", order.id)


async def ledger_of(system: System, order: Order) -> list[tuple[Any, ...]]:
    rows = await system.pool.fetch(
        "SELECT sku, kind, delta_available, delta_reserved, delta_sold, reason FROM stock_ledger"
        " WHERE reference = $1 ORDER BY seq",
        order.id,
    )
    return [tuple(row) for row in rows]


async def forge_order(system: System, order: Order, text: bytes) -> None:
    """A trade of two events that no script wrote: an order that says this, and a unit received beside it."""
    seq = int(await system.raw.hget(system.keys.meta, "seq") or 0) + 2
    events = f'[["order",["{order.token}",{text.decode()}]],["adjust",["MUG",1,"received","",0,0]]]'
    fields: dict[Any, Any] = {"kind": "trade", "at": "1700000000000", "n": "2", "events": events}
    await system.raw.xadd(system.keys.events, fields, id=f"{system.fence.epoch}-{seq}")
    await system.raw.hset(system.keys.meta, "seq", str(seq))


# What is stored


async def test_the_stored_order_is_the_answered_one_and_the_one_in_redis_to_the_byte(system: System) -> None:
    await stock_up(system)
    answered = await place_order(system, {"SHIRT-L": 10, "MUG": 1}, customer="bob", coupon="ten")
    await system.flush()
    assert await orders.find(system.pool, answered.token) == answered.record
    assert await order_in_redis(system, answered.token) == answered.record
    row = await row_of(system, answered)
    assert row["record"] == await redis_text(system, system.keys.order(answered.token))
    # 550.00 less 10 % and 5 % for each of ten; 14.50 less 5 %, half to even; and 10 % of all of it off by the coupon
    assert [(item["sku"], item["final_price"], item["total_price"]) for item in await items_of(system, answered)] == [
        ("SHIRT-L", 46_750, 467_500),
        ("MUG", 1_378, 1_378),
    ]
    assert (row["subtotal"], row["discount"], row["total"]) == (468_878, 46_888, 421_990)


async def test_the_columns_of_an_order_and_its_items_are_the_parts_of_its_record(system: System) -> None:
    await stock_up(system)
    order = await place_order(
        system, {"SHIRT-L": 5, "MUG": 2, "LIMITED": 1}, customer="bob", coupon="TEN", is_pending=True
    )
    order = await pay(system, order, PaymentStatus.REQUIRES_ACTION, "tx-1")
    await system.flush()
    record, row = order.record, dict(await row_of(system, order))
    assert (row.pop("created_at"), row.pop("updated_at")) == (record.created_ms, record.updated_ms)
    assert row.pop("payment_until") == record.payment.until_ms > record.created_ms
    assert row == {
        "id": order.id,
        "position": 1,
        "cart_id": f"cart_{record.cart_token}",
        "customer_id": "bob",
        "status": "created",
        "currency": "EUR",
        "subtotal": record.subtotal,
        "discount": record.discount,
        "total": record.total,
        "coupon_id": "coup_ten",
        "coupon": "TEN",
        "is_coupon_counted": True,
        "payment_status": "requires_action",
        "transaction_id": "tx-1",
        "stock": "held",
        "tracking_number": None,
        "refund_reason": None,
        "version": 2,
        "record": msgspec.json.encode(record).decode(),
    }
    items = [dict(item) for item in await items_of(system, order)]
    for position, (item, told) in enumerate(zip(items, record.items, strict=True)):
        assert msgspec.json.decode(item.pop("applied_rules")) == [asdict(rule) for rule in told.applied_rules]
        assert item == {**{name: value for name, value in asdict(told).items() if name != "applied_rules"}} | {
            "order_id": order.id,
            "position": position,
        }
    assert items[1]["name"] == "Mug"


async def test_an_order_without_customer_coupon_or_window_has_nulls_there(system: System) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 1})
    await system.flush()
    row = await row_of(system, order)
    empty = (
        "customer_id",
        "coupon_id",
        "coupon",
        "transaction_id",
        "payment_until",
        "tracking_number",
        "refund_reason",
    )
    assert [row[name] for name in empty] == [None] * len(empty)
    assert (row["payment_status"], row["stock"], row["is_coupon_counted"]) == ("succeeded", "sold", False)


@pytest.mark.parametrize("is_flushed_between", [False, True], ids=["in one flush", "in a flush each"])
async def test_an_order_that_goes_through_its_life_is_stored_as_it_stands_with_its_items_once(
    system: System, *, is_flushed_between: bool
) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 2, "SHIRT-L": 1}, customer="bob", is_pending=True)
    steps = [PROCESSING, SHIPPED, DELIVERED, COMPLETED]
    for step in [None, *steps]:
        if is_flushed_between:
            await system.flush()
        if step is None:
            order = await pay(system, order, PaymentStatus.SUCCEEDED, "tx-1")
        else:
            order = await move(system, order, step, tracking_number="TRACK" if step is SHIPPED else "")
    await system.flush()
    row = await row_of(system, order)
    assert row["record"] == await redis_text(system, system.keys.order(order.token))
    assert (row["status"], row["version"], row["transaction_id"]) == ("completed", 6, "tx-1")
    assert (row["stock"], row["payment_status"], row["tracking_number"]) == ("sold", "succeeded", "TRACK")
    assert [step.status for step in order.record.timeline] == [CREATED, *steps]
    assert len(await items_of(system, order)) == 2
    assert (await system.audit()).is_clean


async def test_events_that_are_seen_again_change_no_order_no_item_and_no_unit(system: System) -> None:
    await stock_up(system)
    await place_order(system, {"MUG": 2}, customer="bob", coupon="TEN", is_pending=True)
    sold = await place_order(system, {"SHIRT-L": 3})
    await move(system, sold, CANCELED)
    async with system.pool.acquire() as connection:
        await drain_once(connection, system.raw, system.keys, 1_000)
        before = await everything(system)
        await connection.execute("UPDATE flush_offsets SET seq = 0")
        assert (await drain_once(connection, system.raw, system.keys, 1_000)).events > 10
    assert await everything(system) == before
    assert (await system.audit()).is_clean


async def test_what_begins_and_what_goes_on_is_applied_in_one_go(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    await stock_up(system)
    cart = await fill_cart(system, {"MUG": 1}, customer="bob")
    order = await place_order(system, {"SHIRT-L": 1}, customer="eve", is_pending=True)
    await system.flush()
    assert isinstance(await system.desk.check_out(CATALOGUE, cart, checkout()), Answer)
    await pay(system, order, PaymentStatus.SUCCEEDED)
    await place_order(system, {"MUG": 2})
    await system.flush()
    assert not caplog.records, "it was judged event by event"
    assert (await system.audit()).is_clean


async def test_an_order_of_which_only_a_later_version_is_told_comes_with_its_items(system: System) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 2}, customer="bob")
    other = await place_order(system, {"MUG": 1}, customer="eve")
    await system.flush()
    await system.pool.execute("DELETE FROM order_items WHERE order_id = $1", order.id)
    await system.pool.execute("DELETE FROM orders WHERE id = $1", order.id)
    await move(system, order, PROCESSING)
    await move(system, other, PROCESSING)
    await system.flush()
    assert (await row_of(system, order))["status"] == "processing"
    assert len(await items_of(system, order)) == len(await items_of(system, other)) == 1


# Units


@pytest.mark.parametrize("to", [CANCELED, RETURNED])
async def test_units_that_come_back_from_an_order_are_in_the_ledger_with_its_id_and_why(
    system: System, to: OrderStatus
) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 3, "LIMITED": 2}, customer="bob")
    await move(system, order, *([PROCESSING, SHIPPED] if to is RETURNED else []), to)
    await system.flush()
    assert await ledger_of(system, order) == [
        ("MUG", "commit", 0, -3, 3, None),
        ("LIMITED", "commit", 0, -2, 2, None),
        ("MUG", "adjust", 3, 0, -3, str(to)),
        ("LIMITED", "adjust", 2, 0, -2, str(to)),
    ]
    row = await system.pool.fetchrow("SELECT available, reserved, sold, received FROM stock_levels WHERE sku = 'MUG'")
    assert row is not None and tuple(row) == (ON_HAND, 0, 0, ON_HAND)
    assert await system.counts("LIMITED") == (ON_HAND, 0, 0)
    assert (await row_of(system, order))["stock"] == "returned"
    assert (await system.audit()).is_clean


async def test_an_order_that_was_never_paid_leaves_no_unit_sold(system: System) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 3}, is_pending=True)
    await pay(system, order, PaymentStatus.FAILED)
    await system.flush()
    assert await ledger_of(system, order) == []
    assert (await row_of(system, order))["stock"] == "none"
    assert await system.counts("MUG") == (ON_HAND, 0, 0)
    assert (await system.audit()).is_clean


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE stock_ledger SET reference = NULL WHERE kind = 'commit' AND sku = 'MUG'", ("MUG", "3/3", "0/3")),
        ("UPDATE stock_ledger SET reason = 'x', reference = NULL WHERE delta_sold = -2", ("LIMITED", "2/2", "2/0")),
        ("UPDATE orders SET stock = 'sold'", ("LIMITED", "2/0", "2/2")),
        ("UPDATE orders SET stock = 'none'", ("LIMITED", "0/0", "2/2")),
        ("DELETE FROM order_items WHERE sku = 'MUG'", ("MUG", "0/0", "3/3")),
    ],
)
async def test_the_audit_finds_an_order_of_which_the_ledger_tells_another_story(
    system: System, change: str, told: tuple[str, str, str]
) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 3, "LIMITED": 2})
    await move(system, order, CANCELED)
    await place_order(system, {"MUG": 1})
    await system.flush()
    assert (await system.audit()).is_clean
    await system.pool.execute(change)
    found = [d for d in (await system.audit()).differences if order.id in d.between and d.sku == told[0]]
    assert [(difference.sku, difference.one, difference.other) for difference in found] == [told]


# What cannot be applied


@pytest.mark.parametrize(
    "change",
    [
        {"total": 1},
        {"discount": 1},
        {"currency": "euro"},
        {"status": "lost"},
        {"updated_ms": 10**18},
        {"subtotal": -1, "total": -1},
        {"items": 7},
    ],
    ids=str,
)
async def test_an_order_that_cannot_be_stored_is_set_aside_alone_and_stored_once_mended(
    system: System, change: dict[str, Any]
) -> None:
    await stock_up(system)
    good = await place_order(system, {"MUG": 2})
    fields = asdict(good.record)
    bad = msgspec.json.encode([(fields | change | {"version": 9})[name] for name in fields])
    other = Order(fresh_token(), good.record)
    await forge_order(system, other, bad)
    await place_order(system, {"MUG": 1})
    await system.flush()
    (item,) = await quarantine.waiting(system.pool)
    assert item.kind == "order"
    assert item.reason
    assert await system.pool.fetchval("SELECT count(*) FROM orders") == 2
    received = "SELECT received FROM stock_levels WHERE sku = 'MUG'"
    assert await system.pool.fetchval(received) == ON_HAND + 1
    mended = f'["{other.token}",{msgspec.json.encode(other.record).decode()}]'
    assert await quarantine.replay(system.pool, 0, item.epoch, item.seq, payload=mended) == quarantine.Replay(1, None)
    assert await orders.find(system.pool, other.token) == good.record
    assert len(await items_of(system, other)) == 1


async def test_an_older_version_that_is_replayed_late_does_not_replace_a_newer_one(system: System) -> None:
    await stock_up(system)
    first = await place_order(system, {"MUG": 2})
    await move(system, first, PROCESSING, SHIPPED)
    await system.flush()
    before = await everything(system)
    same = replace(first.record, version=3, status=CANCELED)
    for seq, record in enumerate((first.record, same), 900):
        await system.pool.execute(
            "INSERT INTO flush_quarantine (shard, epoch, seq, happened_at, kind, payload, reason)"
            " VALUES (0, 1, $1, now(), 'order', $2, 'held back')",
            seq,
            msgspec.json.encode((first.token, record)).decode(),
        )
        assert await quarantine.replay(system.pool, 0, 1, seq) == quarantine.Replay(1, None)
    await system.pool.execute("DELETE FROM flush_quarantine")
    assert await everything(system) == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE orders SET total = total + 1",
        "UPDATE orders SET subtotal = -1, discount = 0, total = -1",
        "UPDATE orders SET discount = -1, total = subtotal + 1",
        "UPDATE orders SET discount = subtotal + 1, total = -1",
        "UPDATE orders SET status = 'lost'",
        "UPDATE orders SET stock = 'held'",
        "UPDATE orders SET is_coupon_counted = true",
        "UPDATE order_items SET quantity = 0, total_price = 0",
        "UPDATE order_items SET final_price = final_price - 1",
        "UPDATE order_items SET total_price = total_price + 1",
        "UPDATE order_items SET discount = -1, final_price = unit_price + 1, total_price = (unit_price + 1) * quantity",
        "UPDATE order_items SET discount = unit_price + 1, final_price = -1, total_price = -quantity",
    ],
)
async def test_no_row_can_say_what_the_books_cannot(system: System, change: str) -> None:
    await stock_up(system)
    await place_order(system, {"MUG": 2})
    await system.flush()
    with pytest.raises(asyncpg.CheckViolationError):
        await system.pool.execute(change)


# Reading


async def test_an_order_that_redis_let_go_of_is_shown_and_goes_on_from_what_postgresql_has(system: System) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 2}, customer="bob")
    await system.flush()
    await system.raw.delete(system.keys.order(order.token))
    assert await system.desk.show_order(CATALOGUE, order.token) == order
    moved = await move(system, order, CANCELED)
    assert await system.counts("MUG") == (ON_HAND, 0, 0)
    await system.flush()
    assert await orders.find(system.pool, order.token) == moved.record == await order_in_redis(system, order.token)
    assert (await system.audit()).is_clean


async def test_there_is_no_order_where_none_was_made_or_flushed(system: System) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 1})
    assert await orders.find(system.pool, order.token) is None
    assert await orders.page(system.pool, customer_id=None, status=None, before=None, limit=50) == []
    shown = await system.desk.show_order(CATALOGUE, "nobody")
    assert isinstance(shown, Refused) and shown.refusal is Refusal.UNKNOWN_ORDER


async def test_a_limit_lets_a_customer_have_again_what_came_back(system: System) -> None:
    await stock_up(system)
    order = await place_order(system, {"LIMITED": LIMIT}, customer="bob")
    assert await system.raw.hgetall(system.keys.customers) == {"LIMITED|bob": str(LIMIT)}
    await move(system, order, CANCELED)
    assert await system.raw.hgetall(system.keys.customers) == {}
    cart = await fill_cart(system, {"LIMITED": LIMIT}, customer="bob")
    assert isinstance(await system.desk.check_out(CATALOGUE, cart, checkout()), Answer)
