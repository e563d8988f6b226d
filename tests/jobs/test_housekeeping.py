"""Housekeeping: the job gives back what expired or was not paid in time; holds expire without any job too."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from engine.holds import HoldStatus
from engine.orders import OrderStatus, PaymentStatus
from engine.refusals import Refusal, Refused
from engine.settings import Settings
from jobs.expire import PaymentWindows, _expire
from jobs.lingering import Linger
from jobs.resources import open_resources
from jobs.trim import _trim
from persistence.orders import find
from tests.jobs.processes import Processes, applied, until
from tests.shop import LIMIT, ON_HAND, cart_in_redis, fill_cart, order_in_redis, pay, place_order, stock_up
from tests.system import System, open_system

pytestmark = pytest.mark.anyio


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    """A payment must settle within a second."""
    return msgspec.structs.replace(settings, payment_window_s=1)


async def test_the_housekeeping_worker_gives_expired_holds_back_by_itself_and_ends_soon_on_sigterm(
    system: System, processes: Processes
) -> None:
    await system.create("A", 10)
    worker = processes.worker("housekeeping")
    processes.worker("flush")  # which the reconcile job, on the same queue as the sweep, waits for
    processes.scheduler()
    due = await system.hold("A", 4, ttl_ms=300)
    kept = await system.hold("A", 1)

    async def is_given_back() -> bool:
        level = (await system.unswept_stock(["A"]))["A"]
        return (level.available, level.reserved) == (9, 1)

    print(f"\nswept {await until(is_given_back, 'the hold was swept'):.1f} s after it was made")  # noqa: T201
    ended, live = await system.shard.hold(due.hold.token), await system.shard.hold(kept.hold.token)
    assert ended is not None and ended.status is HoldStatus.EXPIRED
    assert live == kept.hold
    assert worker.end(10) == 0, worker.log
    await system.flush()
    assert (await system.audit()).is_clean


async def test_a_stop_is_heard_while_payment_windows_end_in_droves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.expire.LAPSE_AT_ONCE", 0)  # as if each look ended as many as go at once
    monkeypatch.setattr(Linger, "is_broken_off", lambda _: True)
    async with asyncio.timeout(10):
        assert await _expire(settings) == 0


async def test_with_every_worker_dead_an_expired_hold_neither_blocks_a_sale_nor_sells(
    system: System, processes: Processes
) -> None:
    await system.create("A", 5)
    worker = processes.worker("housekeeping")
    worker.kill()
    old = await system.hold("A", 5, ttl_ms=50)
    await asyncio.sleep(0.06)
    fresh = await system.hold("A", 5)
    late = await system.shard.commit(old.hold.token)
    assert isinstance(late, Refused) and late.refusal is Refusal.HOLD_EXPIRED
    await system.shard.commit(fresh.hold.token)
    assert await system.counts("A") == (0, 0, 5)
    await system.flush()
    assert (await system.audit()).is_clean


async def test_the_housekeeping_worker_cancels_what_was_not_paid_in_time_and_gives_units_coupon_and_cart_back(
    hasty: Settings, processes: Processes
) -> None:
    async with open_system(hasty) as system:
        await stock_up(system)
        orders = [
            await place_order(system, {"MUG": 2, "LIMITED": LIMIT}, customer=name, coupon="TEN", is_pending=True)
            for name in ("bob", "eve")
        ]
        await pay(system, orders[1], PaymentStatus.SUCCEEDED)
        worker = processes.worker("housekeeping")
        processes.worker("flush")
        processes.scheduler()

        async def is_canceled() -> bool:
            return (await order_in_redis(system, orders[0].token)).status is OrderStatus.CANCELED

        print(f"\ncanceled {await until(is_canceled, 'the window lapsed'):.1f} s after the worker's start")  # noqa: T201
        levels = await system.unswept_stock(["MUG", "LIMITED"])
        assert [(level.available, level.reserved, level.sold) for level in levels.values()] == [
            (ON_HAND - 2, 0, 2),
            (ON_HAND - LIMIT, 0, LIMIT),
        ]
        lapsed = await order_in_redis(system, orders[0].token)
        assert (lapsed.payment.status, lapsed.stock, lapsed.is_coupon_counted) == (
            PaymentStatus.CANCELED, "none", False,
        )  # fmt: skip
        cart = await cart_in_redis(system, lapsed.cart_token)
        assert (cart.status, cart.coupon, [line.quantity for line in cart.lines]) == ("open", "TEN", [2, LIMIT])
        assert await system.raw.hgetall(system.keys.coupons) == {"coup_ten": "1", "coup_ten|eve": "1"}
        assert await system.raw.hgetall(system.keys.customers) == {"LIMITED|eve": str(LIMIT)}
        assert await system.raw.zcard(system.keys.payments) == 0
        assert worker.end(10) == 0, worker.log
        await applied(system)
        assert await find(system.pool, orders[0].token) == lapsed
        assert (await system.audit()).is_clean


async def test_windows_that_end_later_are_found_by_the_same_run_with_the_catalogue_of_that_moment(
    hasty: Settings,
) -> None:
    async with open_system(hasty) as system, open_resources(hasty) as resources:
        await stock_up(system)
        windows = PaymentWindows(resources)
        assert await windows.lapse() == 0
        for _ in range(2):
            orders = [await place_order(system, {"MUG": 1}, is_pending=True) for _ in range(3)]
            assert await windows.lapse() == 0
            await asyncio.sleep(1.05)
            assert await windows.lapse() == 3
            assert await windows.lapse() == 0
            for order in orders:
                assert (await order_in_redis(system, order.token)).status is OrderStatus.CANCELED
        assert await system.counts("MUG") == (ON_HAND, 0, 0)


async def test_the_trim_forgets_carts_that_nobody_may_ask_for_any_more(system: System, settings: Settings) -> None:
    await stock_up(system)
    kept, closed = await fill_cart(system, {"MUG": 1}), await place_order(system, {"MUG": 1})
    await system.flush()
    await system.pool.execute("UPDATE carts SET updated_at = updated_at - interval '25 hours'")
    await _trim(settings)
    assert await system.pool.fetchval("SELECT array_agg(id) FROM carts") == [f"cart_{kept}"]
    assert await find(system.pool, closed.token) == closed.record
