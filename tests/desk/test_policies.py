"""When stock is claimed and which price holds, in all six combinations a store may choose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from engine.carts import Cart
from engine.plans import Answer
from engine.refusals import LimitReached, PriceChange, Refusal, Refused, Shortfall
from tests.desk.books import check_books
from tests.desk.shop import HALF_PRICE, MUG, TEE, Shop, another_process, lines_of, open_shop

pytestmark = pytest.mark.anyio

COMBINATIONS = [
    (reserve_on, policy) for reserve_on in ("cart", "checkout") for policy in ("locked", "dynamic", "notify")
]
each_combination = pytest.mark.parametrize(("reserve_on", "policy"), COMBINATIONS)
each_policy = pytest.mark.parametrize("policy", ["locked", "dynamic", "notify"])
CHANGED = Refused(Refusal.PRICE_CHANGED, prices=(PriceChange("A", 1_000, 500),))


@asynccontextmanager
async def store(redis_url: str, reserve_on: str, policy: str) -> AsyncIterator[Shop]:
    async with open_shop(redis_url, reserve_on=reserve_on, price_policy=policy) as shop:
        yield shop
        await check_books(shop.redis, shop.catalogue)


def shown(cart: Cart) -> tuple[int, bool]:
    """The price of the only line, and whether it changed."""
    (item,) = cart.items
    return item.final_price, item.price_changed


@each_combination
async def test_without_any_change_every_store_sells_the_same_way(redis_url: str, reserve_on: str, policy: str) -> None:
    async with store(redis_url, reserve_on, policy) as shop:
        await shop.stock_up(A=5)
        cart = await shop.open("bob")
        listed = await shop.add(cart, "A", 2)
        is_held = reserve_on == "cart"
        assert lines_of(listed) == {"A": (2, "held" if is_held else "listed")}
        assert listed.items[0].reserved_until_ms == (shop.now_ms + 900_000 if is_held else None)
        assert await shop.counts("A") == ((3, 2, 0) if is_held else (5, 0, 0))
        order = await shop.check_out(cart, pending=True)
        assert await shop.counts("A") == (3, 2, 0)
        await shop.pay(order, "failed")
        assert await shop.counts("A") == (5, 0, 0)
        assert (await shop.check_out(cart)).record.total == 2_000
        assert await shop.counts("A") == (3, 0, 2)


@each_combination
async def test_a_price_that_changes_soon_after_it_was_shown(redis_url: str, reserve_on: str, policy: str) -> None:
    """Locked: the price shown counts. Dynamic: today's. Notify: nothing, until the shopper has touched the line."""
    async with store(redis_url, reserve_on, policy) as shop:
        await shop.stock_up(A=5)
        cart = await shop.open("bob")
        await shop.add(cart, "A", 2)
        shop.put(HALF_PRICE)
        await shop.pass_s(60)
        cart = await shop.show(cart)
        assert shown(cart) == ((1_000, False) if policy == "locked" else (500, True))
        answer = await shop.try_check_out(cart)
        if policy == "notify":
            assert answer == CHANGED
            assert shown(await shop.set(cart, "A", 2)) == (500, True)
            answer = await shop.try_check_out(cart)
        assert isinstance(answer, Answer)
        assert answer.value.record.total == (2_000 if policy == "locked" else 1_000)
        assert await shop.counts("A") == (3, 0, 2)


@each_combination
async def test_fewer_units_after_a_change_of_the_price(redis_url: str, reserve_on: str, policy: str) -> None:
    """The price shown is kept where it is honoured; elsewhere the line is touched, and has today's."""
    async with store(redis_url, reserve_on, policy) as shop:
        await shop.stock_up(A=5)
        cart = await shop.open("bob")
        await shop.add(cart, "A", 3)
        shop.put(HALF_PRICE)
        assert shown(await shop.set(cart, "A", 2)) == ((1_000, False) if policy == "locked" else (500, True))
        assert (await shop.check_out(cart)).record.total == (2_000 if policy == "locked" else 1_000)


@each_combination
async def test_a_price_that_changes_and_a_shopper_who_comes_late(redis_url: str, reserve_on: str, policy: str) -> None:
    """A hold that ran out refuses first; where nothing was held, the changed price does, unless it is dynamic."""
    async with store(redis_url, reserve_on, policy) as shop:
        await shop.stock_up(A=5)
        cart = await shop.open("bob")
        await shop.add(cart, "A", 2)
        shop.put(HALF_PRICE)
        await shop.pass_s(900)
        assert shown(await shop.show(cart)) == (500, True)
        answer = await shop.try_check_out(cart)
        if reserve_on == "cart":
            assert answer == Refused(Refusal.HOLD_EXPIRED, skus=("A",))
        elif policy == "dynamic":
            assert isinstance(answer, Answer)
            assert answer.value.record.total == 1_000
            return
        else:
            assert answer == CHANGED
        assert shown(await shop.set(cart, "A", 2)) == (500, True)
        assert (await shop.check_out(cart)).record.total == 1_000


@each_combination
async def test_a_price_that_changes_while_a_payment_fails(redis_url: str, reserve_on: str, policy: str) -> None:
    async with store(redis_url, reserve_on, policy) as shop:
        await shop.stock_up(A=5)
        cart = await shop.open("bob")
        await shop.add(cart, "A", 2)
        order = await shop.check_out(cart, pending=True)
        shop.put(HALF_PRICE)
        assert (await shop.pay(order, "failed")).record.total == 2_000
        assert shown(await shop.show(cart)) == (500, True)
        answer = await shop.try_check_out(cart)
        if policy != "dynamic":
            assert answer == CHANGED
            await shop.set(cart, "A", 2)
            answer = await shop.try_check_out(cart)
        assert isinstance(answer, Answer)
        assert answer.value.record.total == 1_000


@each_combination
async def test_the_price_of_an_order_counts_from_its_checkout(redis_url: str, reserve_on: str, policy: str) -> None:
    async with store(redis_url, reserve_on, policy) as shop:
        await shop.stock_up(A=5)
        order = await shop.ordered("A", 2, pending=True)
        shop.put(HALF_PRICE)
        assert (await shop.show(order.record.cart_token)).status == "paying"
        assert (await shop.pay(order, "succeeded")).record.total == 2_000


@each_policy
async def test_a_list_claims_nothing_and_its_checkout_says_what_is_missing(redis_url: str, policy: str) -> None:
    async with store(redis_url, "checkout", policy) as shop:
        await shop.stock_up(A=2, B=3, C=9)
        cart = await shop.open("bob")
        for sku, quantity in (("A", 3), ("B", 4), ("C", 1), ("D", 1)):
            await shop.add(cart, sku, quantity)
        assert await shop.try_check_out(cart) == Refused(Refusal.UNKNOWN_SKU, skus=("D",))
        await shop.set(cart, "D", 0)
        short = (Shortfall("A", 3, 2), Shortfall("B", 4, 3))
        for pending in (False, True):
            refused = await shop.try_check_out(cart, pending=pending)
            assert refused == Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=short)
        assert [await shop.counts(sku) for sku in "ABC"] == [(2, 0, 0), (3, 0, 0), (9, 0, 0)]
        await shop.set(cart, "A", 2)
        await shop.set(cart, "B", 3)
        assert (await shop.check_out(cart)).record.total == 2_000 + 3_750 + 500
        assert [await shop.counts(sku) for sku in "ABC"] == [(0, 0, 2), (0, 0, 3), (8, 0, 1)]


@each_policy
async def test_a_list_meets_limits_and_discontinued_products_at_its_checkout(redis_url: str, policy: str) -> None:
    async with store(redis_url, "checkout", policy) as shop:
        await shop.stock_up(A=9, limit=2)
        await shop.stock_up(C=9)
        cart = await shop.open("bob")
        await shop.add(cart, "A", 3)
        await shop.add(cart, "C", 1)
        shop.discontinue(MUG)
        assert await shop.try_check_out(cart) == Refused(Refusal.PRODUCT_DISCONTINUED, skus=("C",))
        await shop.set(cart, "C", 0)
        over = Refused(Refusal.CUSTOMER_LIMIT_EXCEEDED, limits=(LimitReached("A", 3, 2),))
        assert await shop.try_check_out(cart) == over
        await shop.set(cart, "A", 2)
        assert (await shop.check_out(cart)).record.total == 2_000


async def test_two_lists_race_for_the_last_unit_at_their_checkouts(redis_url: str) -> None:
    async with store(redis_url, "checkout", "locked") as shop:
        await shop.stock_up(A=1)
        carts = [await shop.open() for _ in range(10)]
        for cart in carts:
            await shop.add(cart, "A")
        answers = await asyncio.gather(*(shop.try_check_out(cart, pending=i % 2 == 0) for i, cart in enumerate(carts)))
        assert sum(isinstance(answer, Answer) for answer in answers) == 1
        short = Refused(Refusal.INSUFFICIENT_STOCK, shortfalls=(Shortfall("A", 1, 0),))
        assert answers.count(short) == 9


@pytest.mark.parametrize("first", ["cart", "checkout"])
async def test_carts_outlive_a_store_that_changes_when_it_claims_stock(redis_url: str, first: str) -> None:
    async with store(redis_url, first, "locked") as shop:
        await shop.stock_up(A=9, B=9)
        cart = await shop.open("bob")
        await shop.add(cart, "A", 2)
        other = "checkout" if first == "cart" else "cart"
        settings = replace(shop.settings, reserve_on=other)
        async with another_process(settings, shop.redis, shop.stored) as changed:
            await changed.add(cart, "B", 1)
            assert await shop.counts("A") == ((7, 2, 0) if first == "cart" else (9, 0, 0))
            await changed.add(cart, "A", 1)
            assert await shop.counts("A") == ((9, 0, 0) if first == "cart" else (6, 3, 0))
            assert (await changed.check_out(cart)).record.total == 4_250
            assert await shop.counts("A") == (6, 0, 3)


@each_policy
async def test_a_discount_that_ends_is_a_change_as_well(redis_url: str, policy: str) -> None:
    async with store(redis_url, "cart", policy) as shop:
        await shop.stock_up(A=5)
        shop.put(replace(HALF_PRICE, ends_ms=shop.now_ms + 60_000, product_id=TEE.id))
        cart = await shop.open("bob")
        assert shown(await shop.add(cart, "A", 1)) == (500, False)
        await shop.pass_s(60)
        assert shown(await shop.show(cart)) == ((500, False) if policy == "locked" else (1_000, True))
        answer = await shop.try_check_out(cart)
        if policy == "notify":
            assert answer == Refused(Refusal.PRICE_CHANGED, prices=(PriceChange("A", 500, 1_000),))
        else:
            assert isinstance(answer, Answer)
            assert answer.value.record.total == (500 if policy == "locked" else 1_000)
