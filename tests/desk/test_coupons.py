"""A coupon is judged and counted by the checkout itself, exactly, and given back when its order comes to nothing."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from engine.catalogue import Catalogue
from engine.coupons import Coupon
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from tests.desk.shop import MUG, TEE, TENTH_OFF, Shop

pytestmark = pytest.mark.anyio

SPENT = Refused(Refusal.COUPON_LIMIT_REACHED)


def objected(reason: str) -> Refused:
    return Refused(Refusal.COUPON_NOT_APPLICABLE, reason=reason)


def tenth(**changes: Any) -> Coupon:
    return replace(TENTH_OFF, **changes)


async def uses(shop: Shop) -> int:
    return (await shop.shard.coupon_uses([TENTH_OFF.id]))[TENTH_OFF.id]


async def test_a_coupon_in_any_spelling_takes_its_part_off_and_may_be_taken_off_again(shop: Shop) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open()
    await shop.add(cart, "A", 3)
    shown = await shop.coupon(cart, "tenth")
    assert (shown.coupon, shown.subtotal, shown.discount, shown.total) == ("TENTH", 3_000, 300, 2_700)
    shown = await shop.coupon(cart, "")
    assert (shown.coupon, shown.discount, shown.total) == (None, 0, 3_000)
    assert await shop.try_coupon(cart, "NEVER") == Refused(Refusal.UNKNOWN_COUPON)


async def test_a_coupon_below_its_minimum_is_refused_and_on_the_cart_it_takes_nothing(shop: Shop) -> None:
    await shop.stock_up(A=9)
    shop.put(tenth(min_order_value=2_000))
    cart = await shop.open()
    assert await shop.try_coupon(cart, "TENTH") == objected("minimum-not-reached")
    await shop.add(cart, "A", 1)
    assert await shop.try_coupon(cart, "TENTH") == objected("minimum-not-reached")
    await shop.add(cart, "A", 1)
    assert (await shop.coupon(cart, "TENTH")).discount == 200
    lowered = await shop.set(cart, "A", 1)
    assert (lowered.coupon, lowered.discount, lowered.coupon_note) == ("TENTH", 0, "minimum-not-reached")
    assert await shop.try_check_out(cart) == objected("minimum-not-reached")
    await shop.coupon(cart, "")
    assert (await shop.check_out(cart)).record.total == 1_000
    assert await uses(shop) == 0


async def test_a_coupon_counts_at_the_time_of_the_checkout(shop: Shop) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open()
    await shop.add(cart, "A")
    shop.put(tenth(starts_ms=shop.now_ms + 1_000, ends_ms=shop.now_ms + 2_000))
    assert await shop.try_coupon(cart, "TENTH") == objected("not-yet-valid")
    await shop.pass_s(1)
    await shop.coupon(cart, "TENTH")
    await shop.pass_s(1)
    assert await shop.try_check_out(cart) == objected("no-longer-valid")


async def test_a_coupon_is_for_the_products_that_it_names(shop: Shop) -> None:
    await shop.stock_up(A=9, C=9)
    shop.put(tenth(applicable_products=(MUG.id,)))
    cart = await shop.open()
    await shop.add(cart, "A")
    assert await shop.try_coupon(cart, "TENTH") == objected("nothing-applicable")
    await shop.add(cart, "C")
    assert (await shop.coupon(cart, "TENTH")).discount == 50


async def test_a_coupon_that_was_deleted_refuses_the_checkout_until_it_is_taken_off(shop: Shop) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open()
    await shop.add(cart, "A")
    await shop.coupon(cart, "TENTH")
    shop.remove(TENTH_OFF.id)
    assert (await shop.show(cart)).coupon_note == "unknown-coupon"
    assert await shop.try_check_out(cart) == objected("unknown-coupon")
    await shop.coupon(cart, "")
    assert (await shop.check_out(cart)).record.discount == 0


@pytest.mark.parametrize("pending", [False, True])
async def test_of_a_hundred_checkouts_with_a_coupon_for_ten_exactly_ten_have_it(
    shop: Shop,
    other: Shop,
    pending: bool,  # noqa: FBT001
) -> None:
    await shop.stock_up(A=1_000)
    shop.put(tenth(usage_limit=10))
    other.catalogue = shop.catalogue
    carts = [await shop.open(f"customer-{i}") for i in range(100)]
    await asyncio.gather(*(shop.add(cart, "A") for cart in carts))
    await asyncio.gather(*(shop.coupon(cart, "TENTH") for cart in carts))
    work = ((shop, other)[i % 2].try_check_out(cart, pending=pending) for i, cart in enumerate(carts))
    answers = await asyncio.gather(*work)
    made = [answer.value for answer in answers if isinstance(answer, Answer)]
    assert (len(made), answers.count(SPENT)) == (10, 90)
    assert {order.record.total for order in made} == {900}
    assert await uses(shop) == 10
    assert await shop.counts("A") == ((900, 100, 0) if pending else (900, 90, 10))


async def test_a_customer_uses_a_coupon_as_often_as_the_coupon_lets_each(shop: Shop) -> None:
    await shop.stock_up(A=99)
    shop.put(tenth(per_customer_limit=2))
    for _ in range(2):
        assert (await shop.ordered("A", 1, "bob", coupon="TENTH")).record.total == 900
    cart = await shop.open("bob")
    await shop.add(cart, "A")
    await shop.coupon(cart, "TENTH")
    assert await shop.try_check_out(cart) == SPENT
    assert (await shop.ordered("A", 1, "eve", coupon="TENTH")).record.total == 900
    for _ in range(3):
        await shop.ordered("A", 1, None, coupon="TENTH")
    assert await uses(shop) == 6


async def test_a_guest_who_names_a_customer_uses_that_customers_coupon(shop: Shop) -> None:
    await shop.stock_up(A=99)
    shop.put(tenth(per_customer_limit=1))
    await shop.ordered("A", 1, "bob", coupon="TENTH")
    cart = await shop.open()
    await shop.add(cart, "A")
    await shop.coupon(cart, "TENTH")
    assert await shop.try_check_out(cart, customer="bob") == SPENT
    assert (await shop.check_out(cart, customer="eve")).record.total == 900


@pytest.mark.parametrize("way", ["canceled", "failed", "payment canceled", "lapsed", "shop canceled"])
async def test_an_order_that_comes_to_nothing_gives_its_coupon_back_once(shop: Shop, way: str) -> None:
    await shop.stock_up(A=9)
    shop.put(tenth(usage_limit=1, per_customer_limit=1))
    order = await shop.ordered("A", 1, "bob", coupon="TENTH", pending=way != "canceled")
    assert await uses(shop) == 1
    for _ in range(2):
        match way:
            case "canceled" | "shop canceled":
                await shop.try_move(order, "canceled")
            case "failed":
                await shop.pay(order, "failed")
            case "payment canceled":
                await shop.pay(order, "canceled")
            case "lapsed":
                await shop.pass_s(120)
                await shop.desk.lapse_due(shop.catalogue)
        assert await uses(shop) == 0
    assert (await shop.order(order)).record.status == "canceled"
    again = await shop.ordered("A", 1, "bob", coupon="TENTH") if way == "canceled" else None
    if again is None:
        again = await shop.check_out(await shop.open("bob"))
    assert again.record.total == 900
    assert await uses(shop) == 1


async def test_a_returned_order_has_used_its_coupon(shop: Shop) -> None:
    await shop.stock_up(A=9)
    order = await shop.ordered("A", 1, "bob", coupon="TENTH")
    await shop.move(order, "processing", "shipped", "returned")
    assert await uses(shop) == 1


async def test_a_coupon_that_a_lapsed_order_still_counts_is_free_for_the_next(shop: Shop) -> None:
    """Even when nothing else noticed that the payment window is over."""
    await shop.stock_up(A=9)
    shop.put(tenth(usage_limit=1))
    lapsed = await shop.ordered("A", 1, "bob", coupon="TENTH", pending=True)
    cart = await shop.open("eve")
    await shop.add(cart, "A")
    await shop.coupon(cart, "TENTH")
    await shop.pass_s(119)
    assert await shop.try_check_out(cart) == SPENT
    await shop.pass_s(1)
    assert (await shop.check_out(cart)).record.total == 900
    assert (await shop.order(lapsed)).record.status == "canceled"


async def test_who_finds_nothing_to_end_looks_again_as_others_may_have_ended_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.stock_up(A=9)
    shop.put(tenth(usage_limit=1))
    await shop.ordered("A", 1, "bob", coupon="TENTH", pending=True)
    cart = await shop.open("eve")
    await shop.add(cart, "A")
    await shop.coupon(cart, "TENTH")
    await shop.pass_s(120)
    end_all, looks = shop.desk.lapse_due, itertools.count(1)

    async def end_in_vain(catalogue: Catalogue) -> int:
        next(looks)
        await end_all(catalogue)
        return 0

    monkeypatch.setattr(shop.desk, "lapse_due", end_in_vain)
    assert (await shop.check_out(cart)).record.total == 900
    again = await shop.open("ann")
    await shop.add(again, "A")
    await shop.coupon(again, "TENTH")
    assert await shop.try_check_out(again) == SPENT
    assert next(looks) == 4  # once for eve, twice for ann


@pytest.mark.parametrize(("policy", "is_refused"), [("locked", True), ("notify", True), ("dynamic", False)])
async def test_a_coupon_that_takes_another_amount_off_than_was_shown_has_to_be_chosen_again(
    shop: Shop, policy: Any, *, is_refused: bool
) -> None:
    shop.settings = shop.desk._settings = replace(shop.settings, price_policy=policy)
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A")
    assert (await shop.coupon(cart, "TENTH")).total == 900
    shop.put(tenth(value=1))
    if is_refused:
        assert await shop.try_check_out(cart) == Refused(Refusal.PRICE_CHANGED, reason="TENTH")
        assert (await shop.coupon(cart, "TENTH")).total == 990
    assert (await shop.check_out(cart)).record.total == 990


@pytest.mark.parametrize("is_pending", [False, True])
async def test_what_was_ordered_says_what_its_coupon_took_whatever_becomes_of_that(
    shop: Shop, *, is_pending: bool
) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A")
    await shop.coupon(cart, "TENTH")
    await shop.check_out(cart, pending=is_pending)
    shop.remove(TENTH_OFF.id)
    shown = await shop.show(cart)
    assert (shown.total, shown.discount, shown.coupon_note) == (900, 100, None)


@pytest.mark.parametrize("is_pending", [False, True])
async def test_what_was_ordered_at_todays_prices_is_shown_at_those(shop: Shop, *, is_pending: bool) -> None:
    shop.settings = shop.desk._settings = replace(shop.settings, price_policy="dynamic")
    shop.put(tenth(kind="fixed_amount", value=900))
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A")
    await shop.coupon(cart, "TENTH")
    shop.put(replace(TEE, base_price=9_000))
    order = await shop.check_out(cart, pending=is_pending)
    shown = await shop.show(cart)
    assert (shown.subtotal, shown.discount, shown.total) == (9_000, 900, 8_100)
    assert (order.record.subtotal, order.record.discount, order.record.total) == (9_000, 900, 8_100)
