"""The life of an order: what may follow what, and what each step does to units, limits and coupons, once."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from engine.idempotency import Keyed
from engine.keys import Keys
from engine.orders import TRANSITIONS, Order, OrderStatus
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from tests.desk.shop import TENTH_OFF, Shop

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000
LIFE = {
    "created": {"processing", "canceled"},
    "processing": {"shipped", "canceled"},
    "shipped": {"delivered", "returned"},
    "delivered": {"completed", "returned"},
    "completed": set(),
    "canceled": set(),
    "returned": set(),
    "refund_due": {"canceled"},
}
WAYS: dict[str, tuple[str, ...]] = {
    "created": (),
    "processing": ("processing",),
    "shipped": ("processing", "shipped"),
    "delivered": ("processing", "shipped", "delivered"),
    "completed": ("processing", "shipped", "delivered", "completed"),
    "canceled": ("canceled",),
    "returned": ("processing", "shipped", "returned"),
}
NEXT = ("processing", "shipped", "delivered", "completed", "canceled", "returned")


async def refund_due(shop: Shop) -> Order:
    order = await shop.ordered("A", 1, "rue", pending=True)
    await shop.move(order, "canceled")
    return await shop.pay(order, "succeeded")


def test_every_status_has_its_row() -> None:
    assert {str(status) for status in OrderStatus} == LIFE.keys()
    assert {str(status): {str(to) for to in targets} for status, targets in TRANSITIONS.items()} == {
        status: targets for status, targets in LIFE.items() if targets
    }


@pytest.mark.parametrize("status", LIFE)
async def test_an_order_moves_where_its_life_lets_it_and_nowhere_else(shop: Shop, status: str) -> None:
    await shop.stock_up(A=99)
    for i, to in enumerate(NEXT):
        if status == "refund_due":
            order = await refund_due(shop)
        else:
            order = await shop.ordered("A", 1, f"customer-{i}")
            order = await shop.move(order, *WAYS[status])
        assert order.record.status == status
        answer = await shop.try_move(order, to)
        if to in LIFE[status]:
            assert isinstance(answer, Answer)
            assert answer.value.record.status == to
            continue
        assert isinstance(answer, Refused)
        assert answer.refusal is Refusal.TRANSITION_NOT_ALLOWED
        assert status in answer.reason and to in answer.reason
        assert await shop.order(order) == order


async def test_each_step_has_its_time(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await shop.ordered("A", 1)
    begun = shop.now_ms
    for to in WAYS["completed"]:
        await shop.pass_s(60)
        await shop.move(order, to)
    found = (await shop.order(order)).record
    names = ("created", *WAYS["completed"])
    assert [(step.status, step.at_ms, step.reason) for step in found.timeline] == [
        (name, begun + 60_000 * i, "") for i, name in enumerate(names)
    ]
    assert (found.version, found.updated_ms) == (5, shop.now_ms)


async def test_a_tracking_number_is_kept(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await shop.move(await shop.ordered("A", 1), "processing")
    answer = await shop.try_move(order, "shipped", "TRACK-1")
    assert isinstance(answer, Answer)
    assert (await shop.move(order, "delivered")).record.tracking_number == "TRACK-1"


async def test_an_order_that_is_not_paid_is_not_processed(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await shop.ordered("A", 1, pending=True)
    refused = Refused(Refusal.TRANSITION_NOT_ALLOWED, reason="its payment is pending")
    assert await shop.try_move(order, "processing") == refused
    await shop.pay(order, "requires_action")
    assert isinstance(await shop.try_move(order, "processing"), Refused)
    await shop.pay(order, "succeeded")
    assert (await shop.move(order, "processing")).record.status == "processing"


@pytest.mark.parametrize("way", [("canceled",), ("processing", "canceled"), WAYS["returned"]])
async def test_what_comes_back_is_on_the_shelf_and_off_the_customers_limit_once(
    shop: Shop, way: tuple[str, ...]
) -> None:
    await shop.stock_up(A=9, limit=3)
    await shop.stock_up(B=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 3)
    await shop.add(cart, "B", 2)
    order = await shop.check_out(cart)
    assert [await shop.counts(sku) for sku in "AB"] == [(6, 0, 3), (7, 0, 2)]
    back = await shop.move(order, *way)
    assert back.record.stock == "returned"
    for to in ("canceled", "returned"):
        assert isinstance(await shop.try_move(order, to), Refused)
    assert [await shop.counts(sku) for sku in "AB"] == [(9, 0, 0), (9, 0, 0)]
    assert (await shop.ordered("A", 3, "bob")).record.total == 3_000


async def test_many_who_cancel_at_once_cancel_once(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=99)
    for _ in range(3):
        order = await shop.ordered("A", 2, "bob", coupon="TENTH")
        moves = ((shop, other)[i % 2].try_move(order, "canceled") for i in range(10))
        answers = await asyncio.gather(*moves)
        refused = [answer.refusal for answer in answers if isinstance(answer, Refused)]
        assert len(refused) >= 8 and set(refused) == {Refusal.TRANSITION_NOT_ALLOWED}
        assert [str(step.status) for step in (await shop.order(order)).record.timeline] == ["created", "canceled"]
        assert await shop.counts("A") == (99, 0, 0)
        assert await shop.shard.coupon_uses([TENTH_OFF.id]) == {TENTH_OFF.id: 0}


async def test_a_cancellation_and_a_payment_at_once_never_sell_and_release_both(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=9)
    for customer in ("bob", "eve", "ann", "joe"):
        order = await shop.ordered("A", 2, customer, pending=True)
        await asyncio.gather(shop.try_pay(order, "succeeded"), other.try_move(order, "canceled"))
        assert (await shop.order(order)).record.stock in ("returned", "none")
        assert await shop.counts("A") == (9, 0, 0)


async def test_a_transition_under_a_key_is_answered_the_same_again(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await shop.ordered("A", 1)
    keyed = Keyed("key", "f")
    first = await shop.try_move(order, "processing", keyed=keyed)
    assert isinstance(first, Answer)
    await shop.move(order, "shipped")
    assert await shop.try_move(order, "processing", keyed=keyed) == Answer(first.value, replayed=True)
    assert await shop.try_move(order, "delivered", keyed=Keyed("key", "g")) == Refused(Refusal.KEY_REUSED)


async def test_redis_keeps_what_is_over_for_the_retention_and_what_may_change_longer(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await shop.ordered("A", 1)
    key = Keys().order(order.token)
    assert 30 * DAY_MS < await shop.redis.pttl(key) <= 31 * DAY_MS
    await shop.move(order, *WAYS["completed"])
    assert DAY_MS - 60_000 < await shop.redis.pttl(key) <= DAY_MS


async def test_an_order_that_redis_let_go_of_is_found_where_it_is_stored_and_goes_on(shop: Shop) -> None:
    await shop.stock_up(A=9, limit=3)
    order = await shop.move(await shop.ordered("A", 3, "bob"), "processing", "shipped", "delivered")
    key = Keys().order(order.token)
    await shop.redis.delete(key)
    assert await shop.desk.show_order(shop.catalogue, order.token) == Refused(Refusal.UNKNOWN_ORDER)
    shop.stored.orders[order.token] = order.record
    assert await shop.order(order) == order
    assert not await shop.redis.exists(key)
    assert await shop.pay(order, "failed") == order
    returned = await shop.move(order, "returned")
    assert (returned.record.version, returned.record.stock) == (order.record.version + 1, "returned")
    assert await shop.counts("A") == (9, 0, 0)
    shop.stored.orders[order.token] = replace(order.record, status=OrderStatus.CREATED)
    assert await shop.order(order) == returned


async def test_who_go_on_with_a_stored_order_at_once_do_so_once(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=9)
    order = await shop.move(await shop.ordered("A", 3), "processing", "shipped")
    await shop.redis.delete(Keys().order(order.token))
    shop.stored.orders[order.token] = order.record
    answers = await asyncio.gather(*((shop, other)[i % 2].try_move(order, "returned") for i in range(6)))
    assert 1 <= sum(isinstance(answer, Answer) for answer in answers) <= 2
    assert [str(step.status) for step in (await shop.order(order)).record.timeline][3:] == ["returned"]
    assert await shop.counts("A") == (9, 0, 0)


async def test_an_unknown_order_is_named_as_such(shop: Shop) -> None:
    assert await shop.try_move("nobody", "canceled") == Refused(Refusal.UNKNOWN_ORDER)
