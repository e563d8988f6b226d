"""The rebuild of carts and orders: an emptied Redis goes on with every cart, payment window, limit and coupon count."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from engine.carts import Cart, customer_token
from engine.idempotency import Keyed
from engine.orders import LIVE_KEPT_MS, Order, OrderRecord, OrderStatus, PaymentStatus
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from engine.settings import Settings
from persistence import fence as verification
from tests.bundles import live_deadlines_in
from tests.shop import (
    CATALOGUE,
    LIMIT,
    ON_HAND,
    cart_in_redis,
    checkout,
    fill_cart,
    move,
    order_in_redis,
    pay,
    place_order,
    stock_up,
)
from tests.system import System, open_system

pytestmark = pytest.mark.anyio

PROCESSING, SHIPPED, RETURNED = OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.RETURNED
CANCELED, COMPLETED, DELIVERED = OrderStatus.CANCELED, OrderStatus.COMPLETED, OrderStatus.DELIVERED
HOUR_MS = 3_600_000


async def substance(system: System) -> dict[str, Any]:
    """Everything in Redis but the log and its record; texts as what they say."""
    found: dict[str, Any] = {}
    async for key in system.raw.scan_iter(match="*"):
        kind = await system.raw.type(key)
        if key in (system.keys.meta, system.keys.events):
            continue
        if kind == "string":
            found[key] = msgspec.json.decode(await system.raw.get(key) or "")
        elif kind == "hash":
            found[key] = await system.raw.hgetall(key)
        elif key == system.keys.deadlines:
            found[key] = await live_deadlines_in(system.raw, system.keys)
        elif kind == "zset":
            found[key] = await system.raw.zrange(key, 0, -1, withscores=True)
        else:
            found[key] = await system.raw.smembers(key)
    return found


async def lose_redis(system: System) -> None:
    """Empty Redis after everything in it was flushed, and have it rebuilt."""
    await system.flush()
    await system.raw.flushall()
    assert await system.verify() == "rebuilt"


async def age_order(system: System, order: Order, age_ms: int) -> None:
    """As if the order had last changed so long ago."""
    record: OrderRecord = replace(order.record, updated_ms=order.record.updated_ms - age_ms)
    await system.pool.execute(
        "UPDATE orders SET record = $2, updated_at = updated_at - make_interval(secs => $3) WHERE id = $1",
        order.id,
        msgspec.json.encode(record).decode(),
        age_ms / 1000,
    )


async def hours_kept(system: System, key: str) -> float:
    return await system.raw.pttl(key) / HOUR_MS


async def test_an_emptied_redis_gets_back_all_that_it_had_of_carts_orders_coupons_limits_and_windows(
    system: System,
) -> None:
    await stock_up(system)
    open_cart = await fill_cart(system, {"MUG": 2, "LIMITED": 1}, customer="bob", coupon="TEN")
    await fill_cart(system, {"MUG": 1})
    await place_order(system, {"SHIRT-L": 1, "LIMITED": 2}, customer="eve", coupon="TEN")
    await place_order(system, {"MUG": 1}, coupon="TEN")
    paying = await place_order(system, {"MUG": 2, "LIMITED": 3}, customer="eve", coupon="TEN", is_pending=True)
    failed = await place_order(system, {"MUG": 2}, customer="dan", coupon="TEN", is_pending=True)
    await pay(system, failed, PaymentStatus.FAILED)
    canceled = await place_order(system, {"LIMITED": 4}, customer="kim", coupon="TEN")
    await move(system, canceled, CANCELED)
    returned = await place_order(system, {"LIMITED": 5}, customer="kim")
    await move(system, returned, PROCESSING, SHIPPED, RETURNED)
    await system.flush()
    before = await substance(system)
    assert before[system.keys.coupons] == {"coup_ten": "3", "coup_ten|eve": "2"}
    assert before[system.keys.customers] == {"LIMITED|bob": "1", "LIMITED|eve": "5"}
    assert before[system.keys.payments] == [(paying.token, paying.record.payment.until_ms)]
    assert before[system.keys.cart_of(customer_token("bob"))][1] == open_cart

    await system.raw.flushall()
    assert await system.verify() == "rebuilt"
    assert await substance(system) == before
    assert (await system.audit()).is_clean


async def test_a_rebuild_says_what_it_put_back(system: System) -> None:
    await stock_up(system)
    await fill_cart(system, {"MUG": 2, "LIMITED": 1}, customer="bob")
    await place_order(system, {"MUG": 1}, customer="eve", coupon="TEN")
    rebuilt = await verification.rebuild(system.settings, system.pool)
    assert (rebuilt.skus, rebuilt.holds, rebuilt.customers) == (3, 3, 1)
    assert (rebuilt.carts, rebuilt.orders, rebuilt.coupons) == (2, 1, 2)


async def test_a_checkout_that_is_repeated_after_a_rebuild_is_answered_the_first_order(system: System) -> None:
    await stock_up(system)
    request = checkout(token="derived-1", is_pending=True)
    token = await fill_cart(system, {"MUG": 2}, customer="bob")
    first = await system.desk.check_out(CATALOGUE, token, request)
    assert isinstance(first, Answer)
    await pay(system, first.value, PaymentStatus.SUCCEEDED)
    await move(system, first.value, PROCESSING)
    await lose_redis(system)
    again = await system.desk.check_out(CATALOGUE, token, request)
    told = replace(first.value.record, stock="sold", holds=())  # where its units are is no part of an answer
    assert again == Answer(Order("derived-1", told), replayed=True)
    other = await system.desk.check_out(CATALOGUE, token, replace(request, fingerprint="other"))
    assert isinstance(other, Refused) and other.refusal is Refusal.KEY_REUSED
    assert await system.counts("MUG") == (ON_HAND - 2, 0, 2)


async def test_a_keyed_change_of_a_cart_or_an_order_is_remembered_across_a_rebuild(system: System) -> None:
    await stock_up(system)
    keyed = Keyed("derived", "f")
    opened = await system.desk.open_cart(CATALOGUE, None, keyed)
    order = await place_order(system, {"MUG": 1})
    moved = await system.desk.move_order(CATALOGUE, order.token, PROCESSING, "", Keyed("next", "f"))
    assert isinstance(opened, Answer) and isinstance(moved, Answer)
    await lose_redis(system)
    again = await system.desk.open_cart(CATALOGUE, None, keyed)
    assert isinstance(again, Answer) and (again.value, again.replayed) == (opened.value, True)
    moved_again = await system.desk.move_order(CATALOGUE, order.token, PROCESSING, "", Keyed("next", "f"))
    assert isinstance(moved_again, Answer) and (moved_again.value, moved_again.replayed) == (moved.value, True)


async def test_a_customer_goes_on_with_the_same_cart_and_its_holds_after_a_rebuild(system: System) -> None:
    await stock_up(system)
    token = await fill_cart(system, {"MUG": 2, "LIMITED": LIMIT}, customer="bob", coupon="TEN")
    shown = await system.desk.show_cart(CATALOGUE, token)
    await lose_redis(system)
    assert await system.desk.show_cart(CATALOGUE, token) == shown
    opened = await system.desk.open_cart(CATALOGUE, "bob")
    assert isinstance(opened, Answer) and (opened.value.token, opened.value.is_new) == (token, False)
    assert isinstance(await system.desk.check_out(CATALOGUE, token, checkout()), Answer)
    assert await system.counts("LIMITED") == (ON_HAND - LIMIT, 0, LIMIT)
    await system.flush()
    assert (await system.audit()).is_clean


async def test_a_payment_that_was_waited_for_settles_after_a_rebuild(system: System) -> None:
    await stock_up(system)
    order = await place_order(system, {"MUG": 2}, customer="bob", is_pending=True)
    await lose_redis(system)
    paid = await pay(system, order, PaymentStatus.SUCCEEDED)
    assert (paid.record.stock, paid.record.version) == ("sold", 2)
    assert await system.counts("MUG") == (ON_HAND - 2, 0, 2)
    assert (await cart_in_redis(system, order.record.cart_token)).status == "ordered"
    assert await system.raw.zcard(system.keys.payments) == 0


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, payment_window_s=1)


async def test_a_payment_window_that_ended_while_redis_was_away_gives_everything_back(hasty: Settings) -> None:
    async with open_system(hasty) as system:
        await stock_up(system)
        order = await place_order(system, {"LIMITED": 2}, customer="bob", coupon="TEN", is_pending=True)
        await system.flush()
        await system.raw.flushall()
        await asyncio.sleep(1.05)
        await system.verify()
        assert await system.shard.payments_due(10) == [order.token]
        assert await system.desk.lapse_due(CATALOGUE) == 1
        assert (await order_in_redis(system, order.token)).status is CANCELED
        cart = await system.desk.show_cart(CATALOGUE, order.record.cart_token)
        assert isinstance(cart, Cart) and (cart.status, cart.coupon) == ("open", "TEN")
        assert await system.counts("LIMITED") == (ON_HAND, 0, 0)
        assert await system.raw.exists(system.keys.coupons, system.keys.customers, system.keys.payments) == 0
        await system.flush()
        assert (await system.audit()).is_clean


async def test_limits_and_coupons_hold_after_a_rebuild_as_they_did_before(system: System) -> None:
    await stock_up(system)
    for quantity in (2, 1):
        await place_order(system, {"LIMITED": quantity}, customer="bob", coupon="TEN")
    back = await place_order(system, {"LIMITED": 2}, customer="bob")
    await move(system, back, CANCELED)
    await lose_redis(system)
    token = await fill_cart(system, {"LIMITED": LIMIT - 3}, customer="bob", coupon="TEN")
    spent = await system.desk.check_out(CATALOGUE, token, checkout())
    assert isinstance(spent, Refused) and spent.refusal is Refusal.COUPON_LIMIT_REACHED
    more = await system.hold("LIMITED", 1, customer="eve")
    assert more.hold.customer_id == "eve"
    with pytest.raises(AssertionError, match="customer-limit-exceeded"):
        await system.hold("LIMITED", 1, customer="bob")


async def test_what_a_rebuild_puts_back_is_kept_as_long_as_it_would_have_been(system: System) -> None:
    await stock_up(system)
    cart = await fill_cart(system, {"MUG": 1}, customer="bob")
    closed = await place_order(system, {"MUG": 1}, customer="eve")
    done = await move(system, closed, PROCESSING, SHIPPED, DELIVERED, COMPLETED)
    live = await place_order(system, {"MUG": 1})
    waiting = await place_order(system, {"MUG": 1}, is_pending=True)
    await system.flush()
    await system.pool.execute("UPDATE carts SET updated_at = updated_at - interval '20 hours'")
    await age_order(system, done, 20 * HOUR_MS)
    await age_order(system, live, 20 * HOUR_MS)
    await age_order(system, waiting, 40 * 24 * HOUR_MS)
    await lose_redis(system)
    live_hours = LIVE_KEPT_MS / HOUR_MS
    for key, hours in {
        system.keys.cart(cart): 30 * 24,
        system.keys.cart_of(customer_token("bob")): 30 * 24,
        system.keys.cart(closed.record.cart_token): 4,
        system.keys.order(done.token): 4,
        system.keys.order(live.token): live_hours + 4,
        system.keys.order(waiting.token): live_hours + 24,
    }.items():
        assert hours - 0.1 < await hours_kept(system, key) <= hours, key
    assert not await system.raw.exists(system.keys.cart_of(customer_token("eve")))


async def test_what_redis_would_have_let_go_of_is_not_put_back_and_orders_are_shown_all_the_same(
    system: System,
) -> None:
    await stock_up(system)
    expired = await fill_cart(system, {"MUG": 1}, customer="bob")
    closed = await place_order(system, {"MUG": 1}, customer="eve")
    done = await move(system, closed, CANCELED)
    live = await place_order(system, {"MUG": 1})
    await system.flush()
    await system.pool.execute("UPDATE carts SET updated_at = updated_at - interval '25 hours'")
    await system.pool.execute("UPDATE carts SET expires_at = now() - interval '1 second' WHERE customer_id = 'bob'")
    await age_order(system, done, 25 * HOUR_MS)
    await age_order(system, live, LIVE_KEPT_MS + 25 * HOUR_MS)
    await lose_redis(system)
    gone = [
        *(system.keys.cart(token) for token in (expired, closed.record.cart_token)),
        *(system.keys.order(order.token) for order in (done, live)),
        system.keys.cart_of(customer_token("bob")),
    ]
    assert await system.raw.exists(*gone) == 0
    for order in (done, live):
        shown = await system.desk.show_order(CATALOGUE, order.token)
        assert isinstance(shown, Order) and shown.record.status is order.record.status
    opened = await system.desk.open_cart(CATALOGUE, "bob")
    assert isinstance(opened, Answer) and opened.value.is_new and opened.value.token != expired


async def test_a_rebuild_applies_what_was_not_flushed_of_carts_and_orders_first(system: System) -> None:
    await stock_up(system)
    cart = await fill_cart(system, {"MUG": 2}, customer="bob")
    order = await place_order(system, {"SHIRT-L": 1}, is_pending=True)
    before = await substance(system)
    await verification.rebuild(system.settings, system.pool)
    await system.verify()
    assert await substance(system) == before
    assert (await cart_in_redis(system, cart)).lines[0].quantity == 2
    assert await order_in_redis(system, order.token) == order.record
