"""A reply of Redis that is lost makes its client ask again: what was done is done once, and answered as done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from engine.carts import Cart
from engine.plans import Answer
from engine.refusals import Refused
from tests.desk.shop import Shop, another_process, lines_of, open_shop

pytestmark = pytest.mark.anyio

Losing = Callable[[], None]


@pytest.fixture
def lose_a_reply(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Losing:
    """Lets the next trade run twice, as redis-py does when a connection breaks before the reply."""
    script = shop.shard._scripts["trade"]
    run = script.run
    lost: list[bool] = []

    async def run_again(*arguments: Any) -> Any:
        if lost:
            lost.pop()
            await run(*arguments)
        return await run(*arguments)

    monkeypatch.setattr(script, "run", run_again)
    return lambda: lost.append(True)


async def test_units_are_added_once_and_taken_off_once(shop: Shop, lose_a_reply: Losing) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    lose_a_reply()
    assert lines_of(await shop.add(cart, "A", 2)) == {"A": (2, "held")}
    lose_a_reply()
    assert lines_of(await shop.set(cart, "A", 1)) == {"A": (1, "held")}
    lose_a_reply()
    assert lines_of(await shop.set(cart, "A", 0)) == {}
    assert await shop.counts("A") == (9, 0, 0)


async def test_a_cart_is_opened_and_merged_once(shop: Shop, lose_a_reply: Losing) -> None:
    await shop.stock_up(A=9)
    lose_a_reply()
    bobs, guests = await shop.open("bob"), await shop.open()
    await shop.add(guests, "A", 2)
    lose_a_reply()
    merged = await shop.try_merge(bobs, guests)
    assert isinstance(merged, Answer)
    assert lines_of(merged.value) == {"A": (2, "held")}


@pytest.mark.parametrize("pending", [False, True])
async def test_a_cart_is_ordered_once_and_not_as_a_replay(
    shop: Shop,
    lose_a_reply: Losing,
    pending: bool,  # noqa: FBT001
) -> None:
    await shop.stock_up(A=9)
    cart = await shop.open("bob")
    await shop.add(cart, "A", 2)
    await shop.coupon(cart, "TENTH")
    lose_a_reply()
    answer = await shop.try_check_out(cart, pending=pending)
    assert isinstance(answer, Answer)
    assert not answer.replayed
    assert await shop.counts("A") == ((7, 2, 0) if pending else (7, 0, 2))
    assert await shop.shard.coupon_uses(["coup_tenth"]) == {"coup_tenth": 1}


async def test_an_order_takes_each_step_once(shop: Shop, lose_a_reply: Losing) -> None:
    await shop.stock_up(A=9)
    order = await shop.ordered("A", 2, "bob", pending=True)
    lose_a_reply()
    assert (await shop.pay(order, "succeeded")).record.stock == "sold"
    for to in ("processing", "shipped", "returned"):
        lose_a_reply()
        moved = await shop.try_move(order, to)
        assert isinstance(moved, Answer)
        assert moved.value.record.status == to
    assert await shop.counts("A") == (9, 0, 0)
    assert isinstance(await shop.show(order.record.cart_token), Cart)


async def test_two_processes_that_do_the_same_in_the_same_moment_do_it_twice(redis_url: str) -> None:
    """Their judgements are alike to the millisecond; neither may take the other's record for its own."""
    async with (
        open_shop(redis_url, reserve_on="checkout") as shop,
        another_process(shop.settings, shop.redis, shop.stored) as other,
    ):
        await shop.stock_up(A=1_000)
        other.now_ms, other.catalogue = shop.now_ms, shop.catalogue
        for _ in range(30):
            cart = await shop.open()
            await asyncio.gather(*(each.add(cart, "A") for each in (shop, other, shop, other)))
            assert lines_of(await shop.show(cart)) == {"A": (4, "listed")}


async def test_of_two_processes_that_move_an_order_at_once_one_is_refused(shop: Shop, other: Shop) -> None:
    await shop.stock_up(A=100)
    for _ in range(10):
        order = await shop.ordered()
        moved = await asyncio.gather(*(each.try_move(order, "processing") for each in (shop, other)))
        assert sum(isinstance(answer, Refused) for answer in moved) == 1
