"""Random histories over carts, payments and orders: whatever is done, in whatever order, the books balance."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.desk.history import HOLD_S, LIFE_S, WINDOW_S, History
from tests.desk.shop import another_process, open_shop

pytestmark = pytest.mark.anyio

STEPS = 150
STORES = [("cart", "locked"), ("cart", "notify"), ("checkout", "locked"), ("cart", "dynamic")]
SEEDS = range(16)
REACHED = {
    ("merge", "done"),
    ("check out", "insufficient-stock"),
    ("check out", "coupon-limit-reached"),
    ("check out", "customer-limit-exceeded"),
    ("check out", "price-changed"),
    ("check out", "hold-expired"),
    ("pay", "created, sold"),
    ("pay", "canceled, none"),
    ("pay", "refund_due, none"),
    ("move", "canceled, returned"),
}


async def live(redis_url: str, seed: int, steps: int) -> History:
    reserve_on, policy = STORES[seed % len(STORES)]
    times = {"cart_hold_ttl_s": HOLD_S, "payment_window_s": WINDOW_S, "max_hold_life_s": LIFE_S}
    async with (
        open_shop(redis_url, reserve_on=reserve_on, price_policy=policy, **times) as shop,
        another_process(shop.settings, shop.redis, shop.stored) as other,
    ):
        history = History(seed, shop, other)
        try:
            await history.begin()
            for _ in range(steps):
                await history.step()
            await history.end()
        except BaseException as error:
            error.add_note("\n".join([f"seed {seed}", *history.trail[-30:]]))
            raise
        return history


async def test_in_every_history_the_books_balance_at_every_step(redis_url: str) -> None:
    came_to: Counter[tuple[str, str]] = Counter()
    for seed in SEEDS:
        came_to += (await live(redis_url, seed, STEPS)).came_to
    assert came_to.keys() >= REACHED, sorted(REACHED - came_to.keys())
