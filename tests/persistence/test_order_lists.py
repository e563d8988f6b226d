"""Lists of orders from PostgreSQL: newest first, page by page."""

from __future__ import annotations

import pytest

from engine.orders import OrderStatus
from persistence import orders
from tests.shop import move, place_order, stock_up
from tests.system import System

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_each_way")]

CANCELED = OrderStatus.CANCELED


async def test_orders_are_listed_newest_first_of_a_customer_or_of_a_status(system: System) -> None:
    await stock_up(system)
    placed = [await place_order(system, {"MUG": 1}, customer=name) for name in ("bob", "eve", "bob", None, "bob")]
    for order in placed[1:3]:
        await move(system, order, CANCELED)
    await system.flush()

    async def tokens(customer: str | None = None, status: str | None = None) -> list[int]:
        page = await orders.page(system.pool, customer_id=customer, status=status, before=None, limit=50)
        assert [each.position for each in page] == sorted((each.position for each in page), reverse=True)
        return [next(i for i, order in enumerate(placed) if order.token == each.order.token) for each in page]

    assert await tokens() == [4, 3, 2, 1, 0]
    assert await tokens(customer="bob") == [4, 2, 0]
    assert await tokens(status="canceled") == [2, 1]
    assert await tokens(customer="bob", status="created") == [4, 0]
    assert await tokens(customer="nobody") == []
    (newest, *_) = await orders.page(system.pool, customer_id=None, status=None, before=None, limit=1)
    assert newest.order == placed[4]


async def test_pages_neither_skip_nor_repeat_while_orders_come_and_change(system: System) -> None:
    await stock_up(system)
    placed = [await place_order(system, {"MUG": 1}) for _ in range(7)]
    await system.flush()
    seen: list[str] = []
    before = None
    while True:
        page = await orders.page(system.pool, customer_id=None, status=None, before=before, limit=3)
        if not page:
            break
        seen += [each.order.token for each in page]
        before = page[-1].position
        await move(system, placed[0], *([CANCELED] if len(seen) == 3 else []))
        await place_order(system, {"MUG": 1})
        await system.flush()
    assert seen == [order.token for order in reversed(placed)]


async def test_orders_of_one_flush_are_listed_in_the_order_in_which_they_were_made(system: System) -> None:
    await stock_up(system)
    placed = [await place_order(system, {"MUG": 1}) for _ in range(30)]
    await system.flush()
    page = await orders.page(system.pool, customer_id=None, status=None, before=None, limit=500)
    assert [each.order for each in page] == placed[::-1]
