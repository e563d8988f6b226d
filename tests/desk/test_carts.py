"""Carts are opened and found: one live cart a customer, a guest's by its id, each for as long as it is used."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from engine.carts import Cart, customer_token, pointer_to
from engine.idempotency import Keyed
from engine.keys import Keys
from engine.plans import Answer
from engine.refusals import Refusal, Refused
from tests.desk.shop import Shop, lines_of

pytestmark = pytest.mark.anyio

LIFE_MS = 30 * 86_400_000


async def test_a_customer_who_asks_again_gets_the_same_cart(shop: Shop, other: Shop) -> None:
    first = await shop.desk.open_cart(shop.catalogue, "bob")
    again = await other.desk.open_cart(other.catalogue, "bob")
    assert isinstance(first, Answer) and isinstance(again, Answer)
    assert (first.value.is_new, again.value.is_new) == (True, False)
    assert again.value == replace(first.value, is_new=False)
    assert (first.value.status, first.value.customer_id, first.value.items) == ("open", "bob", ())
    assert (await shop.open("eve")).token != first.value.token


async def test_fifty_askings_at_once_make_one_cart_of_a_customer(shop: Shop, other: Shop) -> None:
    asked = [(shop, other)[i % 2].desk.open_cart(shop.catalogue, "bob") for i in range(50)]
    answers = await asyncio.gather(*asked)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert len({answer.value.token for answer in answers if isinstance(answer, Answer)}) == 1
    assert sum(isinstance(answer, Answer) and answer.value.is_new for answer in answers) == 1


async def test_each_guest_gets_a_cart_of_their_own(shop: Shop) -> None:
    carts = await asyncio.gather(*(shop.open() for _ in range(10)))
    assert len({cart.token for cart in carts}) == 10
    assert {cart.customer_id for cart in carts} == {None}


async def test_the_same_asking_under_a_key_makes_one_guest_cart(shop: Shop, other: Shop) -> None:
    keyed = Keyed("key", "f")
    asked = [(shop, other)[i % 2].desk.open_cart(shop.catalogue, None, keyed) for i in range(20)]
    answers = [answer for answer in await asyncio.gather(*asked) if isinstance(answer, Answer)]
    assert len(answers) == 20
    assert len({answer.value.token for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    await shop.stock_up(A=5)
    await shop.add(answers[0].value, "A")
    again = await shop.desk.open_cart(shop.catalogue, None, keyed)
    assert again == Answer(answers[0].value, replayed=True)
    reused = await shop.desk.open_cart(shop.catalogue, None, Keyed("key", "g"))
    assert reused == Refused(Refusal.KEY_REUSED)


async def test_what_leads_to_a_forgotten_cart_leads_to_one_new_one_however_many_ask(shop: Shop, other: Shop) -> None:
    for customer in ("bob", "eve", "ann", "joe"):
        stale = pointer_to(customer, "forgotten", 60_000)
        await shop.redis.set(Keys().cart_of(stale.token), stale.text)
        asked = [(shop, other)[i % 2].desk.open_cart(shop.catalogue, customer) for i in range(20)]
        carts = [answer.value for answer in await asyncio.gather(*asked) if isinstance(answer, Answer)]
        assert len(carts) == 20
        assert len({cart.token for cart in carts}) == 1


async def test_an_ordered_cart_is_followed_by_a_new_one(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await shop.ordered(customer="bob")
    old = await shop.show(order.record.cart_token)
    assert (old.status, old.order_token) == ("ordered", order.token)
    fresh = await shop.open("bob")
    assert fresh.token != old.token
    assert (fresh.status, fresh.items) == ("open", ())


async def test_a_cart_that_is_being_paid_is_still_the_customers(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await shop.ordered(customer="bob", pending=True)
    found = await shop.open("bob")
    assert (found.token, found.status, found.order_token) == (order.record.cart_token, "paying", order.token)


async def test_a_cart_whose_payment_window_is_over_is_found_open_by_its_customer(shop: Shop) -> None:
    await shop.stock_up(A=5)
    order = await shop.ordered(customer="bob", pending=True)
    await shop.pass_s(120)
    found = await shop.open("bob")
    assert (found.token, found.status, lines_of(found)) == (order.record.cart_token, "open", {"A": (1, "expired")})


async def test_an_unknown_cart_is_named_as_such(shop: Shop) -> None:
    unknown = Refused(Refusal.UNKNOWN_CART)
    cart = await shop.open()
    assert await shop.desk.show_cart(shop.catalogue, "nobody") == unknown
    assert await shop.try_set("nobody", "A", 1) == unknown
    assert await shop.try_check_out("nobody") == unknown
    assert await shop.try_merge("nobody", cart) == unknown
    assert await shop.try_merge(cart, "nobody") == unknown


async def test_a_cart_of_another_customer_is_neither_shown_nor_changed(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open("bob")
    await shop.add(cart, "A", customer="bob")
    guests = await shop.open()
    foreign = Refused(Refusal.FOREIGN_CART)
    assert await shop.desk.show_cart(shop.catalogue, cart.token, "eve") == foreign
    assert await shop.try_add(cart, "A", customer="eve") == foreign
    assert await shop.try_set(cart, "A", 0, customer="eve") == foreign
    assert await shop.try_coupon(cart, "TENTH", customer="eve") == foreign
    assert await shop.try_check_out(cart, customer="eve") == foreign
    assert await shop.try_merge(cart, guests, customer="eve") == foreign
    assert await shop.try_merge(guests, cart) == foreign
    assert lines_of(await shop.show(cart, "bob")) == {"A": (1, "held")}
    assert isinstance(await shop.show(guests, "eve"), Cart)


async def test_every_use_gives_a_cart_its_whole_life_again(shop: Shop) -> None:
    await shop.stock_up(A=5)
    cart = await shop.open("bob")
    keys = (Keys().cart(cart.token), Keys().cart_of(customer_token("bob")))
    assert cart.expires_ms == shop.now_ms + LIFE_MS
    for key in keys:
        assert LIFE_MS - 10_000 < await shop.redis.pttl(key) <= LIFE_MS
        await shop.redis.pexpire(key, 5_000)
    await shop.pass_s(86_400)
    used = await shop.add(cart, "A")
    assert used.expires_ms == shop.now_ms + LIFE_MS
    for key in keys:
        assert LIFE_MS - 10_000 < await shop.redis.pttl(key) <= LIFE_MS


async def test_a_cart_that_came_to_an_end_is_kept_for_the_retention_and_changed_no_more(shop: Shop) -> None:
    await shop.stock_up(A=5)
    ordered = await shop.ordered(customer="bob")
    merged, guests = await shop.open("bob"), await shop.open()
    await shop.merge(merged, guests)
    for token, refusal in ((ordered.record.cart_token, Refusal.CART_ORDERED), (guests.token, Refusal.CART_MERGED)):
        assert 86_300_000 < await shop.redis.pttl(Keys().cart(token)) <= 86_400_000
        for answer in (await shop.try_add(token, "A"), await shop.try_check_out(token)):
            assert isinstance(answer, Refused)
            assert answer.refusal is refusal


async def test_many_changes_of_one_cart_at_once_are_all_made(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=999)
    for customer in ("bob", "eve", "ann"):
        cart = await shop.open(customer)
        work = ((shop, other)[i % 2].try_add(cart, "A") for i in range(100))
        answers = await asyncio.gather(*work, return_exceptions=True)
        assert [answer for answer in answers if not isinstance(answer, Answer)] == []
        assert lines_of(await shop.show(cart)) == {"A": (100, "held")}
    assert await shop.counts("A") == (699, 300, 0)
