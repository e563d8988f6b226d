"""A checkout makes an order of a whole cart in one step, or says why there is none and leaves everything as it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from engine.carts import PAYING_GRACE_S
from engine.holds import HoldStatus
from engine.keys import Keys
from engine.orders import Order, OrderStatus, Payment, PaymentStatus
from engine.plans import Answer
from engine.refusals import LimitReached, Refusal, Refused, Shortfall
from engine.stock import Adjust
from tests.desk.shop import BULK, HALF_PRICE, MUG, TEE, VARIANTS, Shop, lines_of

pytestmark = pytest.mark.anyio


async def state(shop: Shop) -> dict[str, Any]:
    """Everything in Redis that a refusal must leave alone."""
    found: dict[str, Any] = {}
    async for key in shop.redis.scan_iter(match="*", count=1_000):
        kind = await shop.redis.type(key)
        found[key] = await (
            shop.redis.get(key)
            if kind == "string"
            else shop.redis.hgetall(key)
            if kind == "hash"
            else shop.redis.zrange(key, 0, -1, withscores=True)
            if kind == "zset"
            else shop.redis.xrange(key)
        )
    return found


async def test_a_checkout_sells_every_line_and_the_order_tells_what_was_bought(shop: Shop) -> None:
    await shop.stock_up(A=5, C=10)
    shop.put(BULK)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    await shop.add(cart, "C", 6)
    cart = await shop.coupon(cart, "TENTH")
    order = await shop.check_out(cart)
    record = order.record
    assert (record.status, record.customer, record.cart_token) == (OrderStatus.CREATED, "bob", cart.token)
    assert (record.subtotal, record.discount, record.total, record.currency) == (4_700, 470, 4_230, "GBP")
    assert record.payment == Payment(PaymentStatus.SUCCEEDED, PaymentStatus.SUCCEEDED, 0)
    assert [(step.status, step.at_ms) for step in record.timeline] == [(OrderStatus.CREATED, shop.now_ms)]
    bought = [(item.sku, item.name, item.quantity, item.final_price, item.total_price) for item in record.items]
    assert bought == [("A", "Tee", 2, 1_000, 2_000), ("C", "Mug", 6, 450, 2_700)]
    assert [item.applied_rules for item in record.items] == [item.applied_rules for item in cart.items]
    assert [await shop.counts(sku) for sku in "AC"] == [(3, 0, 2), (4, 0, 6)]
    assert await shop.order(order) == order
    assert await shop.shard.coupon_uses(["coup_tenth"]) == {"coup_tenth": 1}


async def test_the_holds_of_an_order_are_committed_in_its_name(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    token = (await shop.record(cart.token)).lines[0].hold
    order = await shop.check_out(cart)
    hold = await shop.shard.hold(token)
    assert hold is not None
    assert hold.status is HoldStatus.COMMITTED
    entries: Any = await shop.redis.xrevrange(Keys().events, count=1)
    assert f'["commit",["{token}","{order.id}",[["A",2]]]]' in entries[0][1]["events"]


async def test_an_expired_line_refuses_the_whole_checkout_and_is_named(shop: Shop) -> None:
    await shop.stock_up(A=5, B=5, C=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    await shop.add(cart, "C", 1)
    await shop.pass_s(600)
    await shop.add(cart, "B", 1)
    await shop.pass_s(300)
    before = await state(shop)
    for pending in (False, True):
        refused = await shop.try_check_out(cart, pending=pending)
        assert refused == Refused(Refusal.HOLD_EXPIRED, skus=("A", "C"))
    assert await state(shop) == before
    await shop.set(cart, "A", 2)
    await shop.set(cart, "C", 0)
    assert (await shop.check_out(cart)).record.total == 3_250


async def test_a_hold_that_somebody_ended_refuses_the_checkout_too(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    await shop.shard.release((await shop.record(cart.token)).lines[0].hold)
    before = await state(shop)
    assert await shop.try_check_out(cart) == Refused(Refusal.HOLD_EXPIRED, skus=("A",))
    assert await state(shop) == before


async def test_an_empty_cart_is_not_ordered(shop: Shop) -> None:
    cart = await shop.open("bob")
    assert await shop.try_check_out(cart) == Refused(Refusal.CART_EMPTY)


async def test_a_product_that_was_discontinued_or_deleted_refuses_the_whole_checkout(shop: Shop) -> None:
    await shop.stock_up(A=5, C=5, D=5)
    cart = await shop.open()
    for sku in ("A", "C", "D"):
        await shop.add(cart, sku)
    catalogue, before = shop.catalogue, await state(shop)
    shop.discontinue(MUG)
    assert await shop.try_check_out(cart) == Refused(Refusal.PRODUCT_DISCONTINUED, skus=("C", "D"))
    shop.catalogue = catalogue
    shop.put(replace(VARIANTS[0], retired=True))
    assert await shop.try_check_out(cart) == Refused(Refusal.PRODUCT_DISCONTINUED, skus=("A",))
    shop.catalogue = catalogue
    shop.remove("var_c", MUG.id)
    assert await shop.try_check_out(cart) == Refused(Refusal.PRODUCT_DISCONTINUED, skus=("C", "D"))
    assert len((await shop.show(cart)).items) == 3
    assert await state(shop) == before
    shop.catalogue = catalogue
    assert isinstance(await shop.check_out(cart), Order)


async def test_the_prices_of_an_order_stay_whatever_becomes_of_rules_and_products(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await shop.ordered("A", 2)
    shop.put(HALF_PRICE, replace(TEE, base_price=1, name="Renamed"))
    assert await shop.order(order) == order
    shop.remove("var_a")
    moved = await shop.move(order, "processing", "shipped")
    assert (moved.record.items, moved.record.total) == (order.record.items, 2_000)


async def test_a_captured_checkout_of_a_guest_for_a_customer_counts_for_that_customer(shop: Shop) -> None:
    await shop.stock_up(A=9, limit=3)
    await shop.ordered("A", 2, "bob")
    cart = await shop.open()
    await shop.add(cart, "A", 2)
    over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 2, 3),))
    assert await shop.try_check_out(cart, customer="bob") == over
    await shop.set(cart, "A", 1)
    order = await shop.check_out(cart, customer="bob")
    assert (order.record.customer, (await shop.show(cart)).status) == ("bob", "ordered")
    assert await shop.shard.customer_units([("A", "bob")]) == [3]


async def test_two_checkouts_of_one_cart_at_once_sell_it_once(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    answers = await asyncio.gather(*((shop, other)[i % 2].try_check_out(cart) for i in range(10)))
    orders = [answer.value for answer in answers if isinstance(answer, Answer)]
    assert len(orders) == 1
    assert answers.count(Refused(Refusal.CART_ORDERED, order_token=orders[0].token)) == 9
    assert await shop.counts("A") == (7, 0, 2)


async def test_a_checkout_and_a_change_of_the_cart_at_once_never_sell_what_is_not_in_it(
    shop: Shop, other: Shop
) -> None:
    await shop.stock_up(A=100)
    for _ in range(5):
        cart = await shop.open()
        await shop.add(cart, "A", 2)
        sold, changed = await asyncio.gather(shop.try_check_out(cart), other.try_set(cart, "A", 1))
        assert isinstance(sold, Answer)
        wanted = 1 if isinstance(changed, Answer) else 2
        assert [item.quantity for item in sold.value.record.items] == [wanted]


async def test_a_checkout_asked_again_answers_the_first_order_however_it_went_on(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    ways: dict[str, Any] = {"tokens": ("now", "before", "after"), "fingerprint": "f"}
    answers = await asyncio.gather(*((shop, other)[i % 2].try_check_out(cart, **ways) for i in range(10)))
    first = next(answer.value for answer in answers if isinstance(answer, Answer) and not answer.replayed)
    assert answers.count(Answer(first, replayed=True)) == 9
    await shop.move(first, "processing", "shipped", "returned")
    again = await shop.try_check_out(cart, **ways)
    assert isinstance(again, Answer)
    shown = replace(again.value.record, stock="sold")
    assert (again.replayed, again.value.token, shown) == (True, "now", first.record)
    later = await shop.try_check_out(cart, tokens=("after", "now", "latest"), fingerprint="f")
    assert isinstance(later, Answer)
    assert (later.replayed, later.value.token) == (True, "now")
    assert await shop.counts("A") == (9, 0, 0)


async def test_the_key_of_a_checkout_is_for_nothing_else(shop: Shop) -> None:
    await shop.stock_up(A=9)
    await shop.ordered("A", 1, tokens=("key",), fingerprint="f")
    cart = await shop.open()
    await shop.add(cart, "A")
    assert await shop.try_check_out(cart, tokens=("key",), fingerprint="g") == Refused(Refusal.KEY_REUSED)
    assert lines_of(await shop.show(cart)) == {"A": (1, "held")}


async def test_a_refused_checkout_is_judged_afresh_under_its_key(shop: Shop) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open()
    await shop.add(cart, "A")
    await shop.pass_s(900)
    assert isinstance(await shop.try_check_out(cart, tokens=("key",)), Refused)
    await shop.set(cart, "A", 1)
    answer = await shop.try_check_out(cart, tokens=("key",))
    assert isinstance(answer, Answer)
    assert not answer.replayed


async def test_a_pending_checkout_holds_firmly_for_the_window_and_keeps_the_cart(shop: Shop) -> None:
    await shop.stock_up(A=5, limit=4)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 3)
    await shop.pass_s(890)
    order = await shop.check_out(cart, pending=True)
    until_ms = shop.now_ms + 120_000
    assert order.record.payment == Payment(PaymentStatus.PENDING, PaymentStatus.PENDING, until_ms)
    assert (order.record.status, order.record.is_waiting) == (OrderStatus.CREATED, True)
    assert await shop.counts("A") == (2, 3, 0)
    for token in order.record.holds:
        hold = await shop.shard.hold(token)
        assert hold is not None
        assert (hold.expires_ms, hold.customer_id) == (until_ms, "bob")
    paying = await shop.show(cart)
    assert (paying.status, paying.order_token, paying.total) == ("paying", order.token, 3_000)
    pending = Refused(Refusal.PAYMENT_PENDING, order_token=order.token)
    assert await shop.try_add(cart, "A") == pending
    assert await shop.try_set(cart, "A", 0) == pending
    assert await shop.try_coupon(cart, "") == pending
    assert await shop.try_check_out(cart) == pending
    await shop.pass_s(100)
    assert await shop.counts("A") == (2, 3, 0)


async def test_a_pending_checkout_of_a_guest_for_a_customer_holds_for_that_customer(shop: Shop) -> None:
    await shop.stock_up(A=5, limit=3)
    cart = await shop.open()
    await shop.add(cart, "A", 3)
    order = await shop.check_out(cart, pending=True, customer="bob")
    assert await shop.shard.customer_units([("A", "bob")]) == [3]
    await shop.pay(order, "failed")
    assert await shop.shard.customer_units([("A", "bob")]) == [0]
    assert ((await shop.show(cart)).status, (await shop.show(cart)).customer_id) == ("open", None)


async def test_a_refused_order_leaves_nothing_behind_even_when_only_its_last_line_fails(shop: Shop) -> None:
    """The cart was given back after its payment, so that its next checkout claims its units anew."""
    await shop.stock_up(A=5, B=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    await shop.add(cart, "B", 2)
    await shop.coupon(cart, "TENTH")
    await shop.pay(await shop.check_out(cart, pending=True), "failed")
    await shop.shard.adjust(Adjust("loss", "f", "B", -4, "broken"))
    before = await state(shop)
    for pending in (False, True):
        refused = await shop.try_check_out(cart, pending=pending)
        assert refused == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("B", 2, 1),))
    assert await state(shop) == before
    await shop.set(cart, "B", 1)
    assert (await shop.check_out(cart)).record.subtotal == 3_250


async def test_a_cart_that_is_being_paid_outlives_its_payments_window_however_short_its_own_life(shop: Shop) -> None:
    shop.settings = shop.desk._settings = replace(shop.settings, cart_life_s=60, payment_window_s=120)
    await shop.stock_up(A=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A")
    await shop.check_out(cart, pending=True)
    paying = await shop.record(cart.token)
    assert paying.expires_ms == shop.now_ms + (120 + PAYING_GRACE_S) * 1_000
    left_ms: Any = await shop.redis.pttl(Keys().cart(cart.token))
    assert 0 < (120 + PAYING_GRACE_S) * 1_000 - left_ms < 60_000


async def test_a_cart_says_until_when_its_units_are_held_for_the_payment_and_of_a_closed_one_none_are(
    shop: Shop,
) -> None:
    await shop.stock_up(A=9)
    paying, guest, target = [await shop.open(customer) for customer in ("bob", None, "eve")]
    for cart in (paying, guest, target):
        await shop.add(cart, "A", 2)
    order = await shop.check_out(paying, pending=True)
    until_ms = shop.now_ms + shop.settings.payment_window_s * 1_000
    shown = await shop.show(paying)
    assert [(item.status, item.reserved_until_ms) for item in shown.items] == [("held", until_ms)]
    await shop.merge(target, guest)
    await shop.pay(order, "succeeded")
    await shop.check_out(target)
    assert await shop.counts("A") == (3, 0, 6)
    for cart in (paying, guest, target):
        closed = await shop.show(cart)
        assert [(item.status, item.reserved_until_ms) for item in closed.items][:1] == [("expired", None)]
        assert closed.expires_ms == shop.now_ms + shop.settings.retention_s * 1_000
