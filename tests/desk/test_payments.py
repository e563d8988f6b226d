"""A payment settles an order once, whatever news of it comes, how often, how late and in which order."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from engine.desk import LAPSE_AGAIN_MS
from engine.idempotency import Keyed
from engine.keys import Keys
from engine.orders import Order
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from tests.desk.shop import TENTH_OFF, Shop, lines_of

pytestmark = pytest.mark.anyio


async def pending(shop: Shop, quantity: int = 2, customer: str | None = "bob", coupon: str = "") -> Order:
    return await shop.ordered("A", quantity, customer, pending=True, coupon=coupon)


def outline(order: Order) -> tuple[str, str, str]:
    record = order.record
    return record.status.value, record.payment.status.value, record.stock


def steps(order: Order) -> list[tuple[str, str]]:
    return [(step.status.value, step.reason) for step in order.record.timeline]


async def lapse(shop: Shop) -> None:
    await shop.pass_s(120)
    await shop.desk.lapse_due(shop.catalogue)


async def test_a_success_sells_the_units_and_closes_the_cart(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop)
    paid = await shop.pay(order, "succeeded", "tx-1")
    assert outline(paid) == ("created", "succeeded", "sold")
    assert (paid.record.payment.transaction_id, paid.record.holds, steps(paid)) == ("tx-1", (), [("created", "")])
    assert await shop.counts("A") == (3, 0, 2)
    assert (await shop.show(order.record.cart_token)).status == "ordered"
    assert (await shop.open("bob")).token != order.record.cart_token
    assert await shop.redis.zcard(Keys().payments) == 0


async def test_news_on_the_way_is_noted_and_moves_no_units(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop)
    for status in ("processing", "requires_action", "processing"):
        noted = await shop.pay(order, status, "tx-1")
        assert outline(noted) == ("created", status, "held")
        assert await shop.pay(order, status) == noted
    assert await shop.counts("A") == (3, 2, 0)
    assert outline(await shop.pay(order, "succeeded")) == ("created", "succeeded", "sold")


@pytest.mark.parametrize(
    ("status", "reason"), [("failed", "the payment failed"), ("canceled", "the payment was canceled")]
)
async def test_a_payment_that_fails_gives_units_and_cart_back_and_the_next_checkout_works(
    shop: Shop, status: str, reason: str
) -> None:
    await shop.stock_up(A=5, limit=2)
    order = await pending(shop, coupon="TENTH")
    ended = await shop.pay(order, status, "tx-1")
    assert outline(ended) == ("canceled", status, "none")
    assert steps(ended) == [("created", ""), ("canceled", reason)]
    assert await shop.counts("A") == (5, 0, 0)
    cart = await shop.open("bob")
    assert (cart.token, cart.status, lines_of(cart)) == (order.record.cart_token, "open", {"A": (2, "expired")})
    assert (cart.coupon, cart.total, cart.order_token) == ("TENTH", 1_800, None)
    again = await shop.check_out(cart, pending=True)
    assert again.token != order.token
    assert outline(await shop.pay(again, "succeeded")) == ("created", "succeeded", "sold")
    assert await shop.counts("A") == (3, 0, 2)


async def test_a_window_that_is_over_cancels_the_order_for_whoever_looks_first(shop: Shop) -> None:
    await shop.stock_up(A=9)
    orders = [await pending(shop, 1, customer) for customer in ("bob", "eve", "ann")]
    await shop.pass_s(119)
    assert await shop.desk.lapse_due(shop.catalogue) == 0
    assert outline(await shop.order(orders[0])) == ("created", "pending", "held")
    await shop.pass_s(1)
    assert await shop.counts("A") == (9, 0, 0)
    assert outline(await shop.order(orders[0])) == ("canceled", "canceled", "none")
    assert (await shop.show(orders[1].record.cart_token)).status == "open"
    assert lines_of(await shop.add(orders[2].record.cart_token, "A")) == {"A": (2, "held")}
    assert await shop.desk.lapse_due(shop.catalogue) == 0
    for order in orders:
        assert steps(await shop.order(order))[1:] == [("canceled", "the payment window was over")]
    assert not await shop.desk.lapse(shop.catalogue, "nobody")


async def test_an_order_that_cannot_be_canceled_does_not_stand_before_the_others(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    await shop.stock_up(A=9)
    broken, done, sound = [await pending(shop, 1, customer) for customer in ("bob", "eve", "ann")]
    await shop.pay(done, "succeeded")
    await shop.pass_s(120)
    text: Any = await shop.redis.getset(Keys().order(broken.token), '["of another version"]')
    await shop.redis.zadd(Keys().payments, {broken.token: 1, done.token: 2})
    assert [await shop.desk.lapse_due(shop.catalogue, 1) for _ in range(4)] == [0, 0, 1, 0]
    assert outline(await shop.order(sound)) == ("canceled", "canceled", "none")
    assert f"the order ord_{broken.token} cannot be canceled" in caplog.text
    left = await shop.redis.zrange(Keys().payments, 0, -1, withscores=True)
    assert left == [(broken.token, shop.now_ms + LAPSE_AGAIN_MS)]

    await shop.redis.set(Keys().order(broken.token), text)
    await shop.pass_s(LAPSE_AGAIN_MS / 1_000)
    assert await shop.desk.lapse_due(shop.catalogue) == 1


async def test_what_is_over_is_canceled_in_bounded_parts(shop: Shop) -> None:
    await shop.stock_up(A=9)
    for customer in ("bob", "eve", "ann"):
        await pending(shop, 1, customer)
    await shop.pass_s(120)
    assert [await shop.desk.lapse_due(shop.catalogue, 2) for _ in range(3)] == [2, 1, 0]


async def test_a_window_that_is_over_is_noticed_by_many_at_once_and_once(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=99)
    for customer in ("bob", "eve", "ann", "joe"):
        order = await pending(shop, 1, customer, coupon="TENTH")
        await shop.pass_s(120)
        cart = order.record.cart_token
        answers = await asyncio.gather(
            shop.try_add(cart, "A"),
            other.try_add(cart, "A"),
            shop.desk.lapse_due(shop.catalogue),
            other.desk.lapse_due(other.catalogue),
            shop.order(order),
            other.order(order),
            shop.show(cart),
            other.show(cart),
        )
        assert all(isinstance(answer, Answer) for answer in answers[:2]), answers[:2]
        assert lines_of(await shop.show(cart)) == {"A": (3, "held")}
        assert steps(await shop.order(order))[1:] == [("canceled", "the payment window was over")]


async def test_who_read_a_cart_just_before_another_noticed_its_window_is_over_reads_it_again(
    shop: Shop, other: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.stock_up(A=9)
    order = await pending(shop)
    await shop.pass_s(120)
    read = shop.desk._cart

    async def outrun(*arguments: Any) -> Any:
        found = await read(*arguments)
        await other.desk.lapse(other.catalogue, order.token)
        return found

    monkeypatch.setattr(shop.desk, "_cart", outrun)
    assert lines_of(await shop.show(order.record.cart_token)) == {"A": (2, "expired")}
    assert lines_of(await shop.add(order.record.cart_token, "A")) == {"A": (3, "held")}


async def test_a_late_success_claims_the_units_anew_and_closes_the_cart_that_nobody_touched(shop: Shop) -> None:
    await shop.stock_up(A=5, limit=2)
    order = await pending(shop, coupon="TENTH")
    await lapse(shop)
    assert await shop.counts("A") == (5, 0, 0)
    revived = await shop.pay(order, "succeeded", "tx-1")
    assert outline(revived) == ("created", "succeeded", "sold")
    assert steps(revived) == [
        ("created", ""),
        ("canceled", "the payment window was over"),
        ("created", "paid late"),
    ]
    assert (revived.record.is_coupon_counted, revived.record.total) == (True, 1_800)
    assert await shop.counts("A") == (3, 0, 2)
    assert (await shop.show(order.record.cart_token)).status == "ordered"
    assert (await shop.open("bob")).token != order.record.cart_token
    assert outline(await shop.move(order, "processing")) == ("processing", "succeeded", "sold")


async def test_a_success_just_too_late_is_the_same_though_nothing_noticed_the_end_of_its_window(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop)
    await shop.pass_s(120)
    assert outline(await shop.pay(order, "succeeded")) == ("created", "succeeded", "sold")
    assert await shop.counts("A") == (3, 0, 2)
    assert (await shop.show(order.record.cart_token)).status == "ordered"


async def test_a_late_success_takes_the_units_that_its_shopper_holds_again(shop: Shop) -> None:
    await shop.stock_up(A=3)
    order = await pending(shop, 3)
    await lapse(shop)
    assert lines_of(await shop.set(order.record.cart_token, "A", 3)) == {"A": (3, "held")}
    assert outline(await shop.pay(order, "succeeded")) == ("created", "succeeded", "sold")
    assert await shop.counts("A") == (0, 0, 3)
    cart = await shop.show(order.record.cart_token)
    assert (cart.status, lines_of(cart)) == ("open", {"A": (3, "expired")})


async def test_a_late_success_leaves_the_shoppers_cart_alone_while_there_are_others(shop: Shop) -> None:
    await shop.stock_up(A=6)
    order = await pending(shop, 3)
    await lapse(shop)
    await shop.set(order.record.cart_token, "A", 3)
    assert outline(await shop.pay(order, "succeeded")) == ("created", "succeeded", "sold")
    assert await shop.counts("A") == (0, 3, 3)
    assert lines_of(await shop.show(order.record.cart_token)) == {"A": (3, "held")}


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_a_late_success_whose_units_are_gone_is_marked_for_a_refund(shop: Shop, is_noticed: bool) -> None:  # noqa: FBT001
    await shop.stock_up(A=3)
    order = await pending(shop, 2, coupon="TENTH")
    if is_noticed:
        await lapse(shop)
    else:
        await shop.pass_s(120)
    await shop.ordered("A", 2, "eve")
    marked = await shop.pay(order, "succeeded", "tx-1")
    assert outline(marked) == ("refund_due", "succeeded", "none")
    assert (marked.record.refund_reason, marked.record.payment.transaction_id, marked.record.holds) == (
        "paid too late: its units, or its coupon, could not be had again",
        "tx-1",
        (),
    )
    assert await shop.counts("A") == (1, 0, 2)
    cart = await shop.open("bob")
    assert (cart.token, cart.status, lines_of(cart)) == (order.record.cart_token, "open", {"A": (2, "expired")})
    assert await shop.pay(order, "succeeded") == marked
    assert await shop.pay(order, "failed") == marked
    assert outline(await shop.move(order, "canceled")) == ("canceled", "succeeded", "none")
    assert await shop.counts("A") == (1, 0, 2)


async def test_a_late_success_beyond_the_customers_limit_is_marked_for_a_refund(shop: Shop) -> None:
    await shop.stock_up(A=9, limit=2)
    order = await pending(shop, 2)
    await lapse(shop)
    await shop.set(order.record.cart_token, "A", 1)
    await shop.check_out(order.record.cart_token)
    assert outline(await shop.pay(order, "succeeded")) == ("refund_due", "succeeded", "none")
    assert await shop.counts("A") == (8, 0, 1)


async def test_a_late_success_whose_coupon_was_used_up_is_marked_for_a_refund(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await pending(shop, 1, coupon="TENTH")
    await lapse(shop)
    await shop.ordered("A", 1, "eve", coupon="TENTH")
    shop.put(replace(TENTH_OFF, usage_limit=1))
    assert outline(await shop.pay(order, "succeeded")) == ("refund_due", "succeeded", "none")
    assert await shop.shard.coupon_uses([TENTH_OFF.id]) == {TENTH_OFF.id: 1}


async def test_a_late_success_ends_what_is_over_for_the_coupon_that_it_has(shop: Shop) -> None:
    await shop.stock_up(A=9)
    shop.put(replace(TENTH_OFF, usage_limit=1))
    order = await pending(shop, 1, coupon="TENTH")
    await shop.pay(order, "failed")
    other = await pending(shop, 1, "eve", coupon="TENTH")
    await shop.pass_s(120)
    assert outline(await shop.pay(order, "succeeded")) == ("created", "succeeded", "sold")
    assert outline(await shop.order(other)) == ("canceled", "canceled", "none")


async def test_a_late_success_leaves_the_cart_alone_with_which_its_shopper_went_on(shop: Shop) -> None:
    await shop.stock_up(A=9, B=9)
    order = await pending(shop, 2)
    await lapse(shop)
    await shop.add(order.record.cart_token, "B")
    assert outline(await shop.pay(order, "succeeded")) == ("created", "succeeded", "sold")
    assert lines_of(await shop.open("bob")) == {"A": (2, "expired"), "B": (1, "held")}


@pytest.mark.parametrize("left", [9, 4])
async def test_a_late_success_leaves_the_next_payment_of_its_cart_alone(shop: Shop, left: int) -> None:
    """The cart is being paid again, as another order: whether the first can be had too or not, the second goes on."""
    await shop.stock_up(A=left)
    first = await pending(shop, 3)
    await lapse(shop)
    second = await shop.check_out(first.record.cart_token, pending=True)
    expected = ("created", "succeeded", "sold") if left == 9 else ("refund_due", "succeeded", "none")
    assert outline(await shop.pay(first, "succeeded")) == expected
    assert outline(await shop.order(second)) == ("created", "pending", "held")
    cart = await shop.show(first.record.cart_token)
    assert (cart.status, cart.order_token) == ("paying", second.token)
    assert outline(await shop.pay(second, "succeeded")) == ("created", "succeeded", "sold")


async def test_a_success_after_a_failure_counts_as_the_attempt_that_worked(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop)
    await shop.pay(order, "failed")
    revived = await shop.pay(order, "succeeded")
    assert outline(revived) == ("created", "succeeded", "sold")
    assert steps(revived)[1:] == [("canceled", "the payment failed"), ("created", "paid late")]


async def test_a_success_after_the_shop_canceled_is_marked_for_a_refund(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop)
    canceled = await shop.move(order, "canceled")
    assert outline(canceled) == ("canceled", "canceled", "none")
    marked = await shop.pay(order, "succeeded")
    assert outline(marked) == ("refund_due", "succeeded", "none")
    assert marked.record.refund_reason == "paid after the order was canceled"
    assert await shop.counts("A") == (5, 0, 0)
    assert lines_of(await shop.open("bob")) == {"A": (2, "expired")}


@pytest.mark.parametrize("news", ["processing", "requires_action", "failed", "canceled", "succeeded"])
async def test_once_paid_no_news_changes_an_order(shop: Shop, news: str) -> None:
    await shop.stock_up(A=9)
    paid = await shop.pay(await pending(shop), "succeeded", "tx-1")
    captured = await shop.ordered("A", 1, "eve")
    canceled = await shop.move(await shop.ordered("A", 1, "ann"), "canceled")
    for order in (paid, captured, canceled):
        assert await shop.pay(order, news, "tx-1") == order
    if news != "succeeded":
        assert await shop.pay(paid, news, "tx-2") == paid
    assert await shop.counts("A") == (6, 0, 3)


async def test_a_second_payment_of_an_order_has_to_go_back_and_is_told_once(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await pending(shop)
    await shop.pay(order, "succeeded", "tx-1")
    again = await shop.pay(order, "succeeded", "tx-2")
    assert outline(again) == ("created", "succeeded", "sold")
    assert (again.record.payment.transaction_id, again.record.refund_reason) == ("tx-1", "paid again, by tx-2")
    assert await shop.pay(order, "succeeded", "tx-2") == again
    assert await shop.pay(order, "succeeded", "tx-1") == again
    third = await shop.pay(order, "succeeded", "tx-3")
    assert third.record.refund_reason == "paid again, by tx-2; paid again, by tx-3"
    assert await shop.counts("A") == (7, 0, 2)
    canceled = await shop.move(order, "canceled")
    assert canceled.record.refund_reason == f"{third.record.refund_reason}; canceled after it was paid"


@pytest.mark.parametrize("news", ["processing", "requires_action", "failed", "canceled"])
async def test_once_it_failed_only_a_success_is_news(shop: Shop, news: str) -> None:
    await shop.stock_up(A=9)
    failed = await shop.pay(await pending(shop), "failed", "tx-1")
    assert await shop.pay(failed, news, "tx-2") == failed
    assert await shop.counts("A") == (9, 0, 0)


@pytest.mark.parametrize("news", list(itertools.permutations(["processing", "failed", "succeeded"])))
async def test_in_whatever_order_news_comes_a_success_among_it_sells_once(shop: Shop, news: tuple[str, ...]) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop)
    for status in (*news, *news):
        await shop.pay(order, status)
    assert outline(await shop.order(order)) == ("created", "succeeded", "sold")
    assert await shop.counts("A") == (3, 0, 2)


async def test_news_that_comes_many_times_at_once_is_taken_once(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=50)
    for customer, news in (("bob", ["succeeded"] * 8), ("eve", ["failed"] * 8), ("ann", ["succeeded", "failed"] * 4)):
        order = await pending(shop, 2, customer, coupon="TENTH")
        sold = (await shop.counts("A"))[2]
        answers = await asyncio.gather(*((shop, other)[i // 2 % 2].try_pay(order, each) for i, each in enumerate(news)))
        assert all(isinstance(answer, Answer) for answer in answers)
        settled = await shop.order(order)
        has_success = "succeeded" in news
        assert outline(settled)[1:] == (("succeeded", "sold") if has_success else ("failed", "none"))
        assert (await shop.counts("A")) == (50 - sold - 2 * has_success, 0, sold + 2 * has_success)


async def test_a_payment_under_a_key_is_answered_the_same_again(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop)
    keyed = Keyed("key", "f")
    first = await shop.try_pay(order, "succeeded", keyed=keyed)
    assert isinstance(first, Answer)
    await shop.move(order, "processing", "shipped")
    assert await shop.try_pay(order, "succeeded", keyed=keyed) == Answer(first.value, replayed=True)
    assert await shop.try_pay(order, "failed", keyed=Keyed("key", "g")) == Refused(Refusal.KEY_REUSED)


async def test_a_late_success_under_a_key_that_falls_back_remembers_what_it_came_to(shop: Shop) -> None:
    await shop.stock_up(A=2)
    order = await pending(shop)
    await shop.pass_s(120)
    await shop.ordered("A", 2, "eve")
    keyed = Keyed("key", "f")
    first = await shop.try_pay(order, "succeeded", keyed=keyed)
    assert isinstance(first, Answer)
    assert outline(first.value) == ("refund_due", "succeeded", "none")
    assert await shop.try_pay(order, "succeeded", keyed=keyed) == Answer(first.value, replayed=True)


async def test_news_of_an_unknown_order_is_refused(shop: Shop) -> None:
    assert await shop.try_pay("nobody", "succeeded") == Refused(Refusal.UNKNOWN_ORDER)
    assert await shop.desk.show_order(shop.catalogue, "nobody") == Refused(Refusal.UNKNOWN_ORDER)


async def test_a_success_sells_what_is_held_even_when_there_is_nothing_else_left(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await pending(shop, 5)
    assert await shop.counts("A") == (0, 5, 0)
    assert outline(await shop.pay(order, "succeeded")) == ("created", "succeeded", "sold")
