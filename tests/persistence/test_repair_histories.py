"""Whatever happened before and after Redis fell back, a repair comes to what a whole rebuild comes to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from random import Random

import msgspec
import pytest

from engine.holds import HoldAnswer, Line, Reserve
from engine.idempotency import Keyed, fresh_token
from engine.orders import Order, OrderStatus, PaymentStatus
from engine.plans import Answer
from engine.stock import Adjust
from persistence import fence as verification
from tests.persistence.copies import Copy, fall_back
from tests.shop import CATALOGUE, SKUS, checkout, fill_cart, stock_up
from tests.system import System, reserve

pytestmark = pytest.mark.anyio
SEEDS = range(6)
TTL_TOLERANCE_MS = 5_000
CUSTOMERS = ("bob", "eve", "kim", None)


class History:
    """Random acts of shoppers, payments and the shop, by what there is to act on."""

    def __init__(self, seed: int, system: System) -> None:
        self.chance, self.system = Random(seed), system
        self.holds: list[str] = []
        self.carts: list[str] = []
        self.orders: list[Order] = []
        self.done: Counter[str] = Counter()

    async def steps(self, count: int) -> None:
        acts = ("hold", "hold", "group", "settle", "extend", "adjust", "cart", "merge", "order", "pay", "move", "time")
        for _ in range(count):
            act = self.chance.choice(acts)
            await getattr(self, act)()
            self.done[act] += 1
            if self.chance.random() < 0.1:
                await self.system.flush()

    def customer(self) -> str | None:
        return self.chance.choice(CUSTOMERS)

    async def hold(self) -> None:
        ttl_ms = self.chance.choice((5, 60_000))
        request = reserve(self.chance.choice(SKUS), self.chance.randint(1, 2), customer=self.customer(), ttl_ms=ttl_ms)
        if isinstance(await self.system.shard.reserve(request), HoldAnswer):
            self.holds.append(request.token)

    async def group(self) -> None:
        group, customer = fresh_token(), self.customer()
        lines = (Line("MUG", 1), Line("SHIRT-L", 2))
        requests = [Reserve(fresh_token(), "f", customer, 60_000, lines, (), group, i) for i in (1, 2)]
        await self.system.shard.reserve_group(requests)
        self.holds += [request.token for request in requests]

    async def settle(self) -> None:
        for token in self.chance.sample(self.holds, min(2, len(self.holds))):
            self.holds.remove(token)
            if self.chance.random() < 0.5:
                await self.system.shard.release(token)
            else:
                keyed = self.chance.choice((None, Keyed(fresh_token(), "f")))
                await self.system.shard.commit(token, keyed, self.chance.choice(("", "till-7")))

    async def extend(self) -> None:
        for token in self.chance.sample(self.holds, min(2, len(self.holds))):
            keyed = self.chance.choice((None, Keyed(fresh_token(), "f")))
            await self.system.shard.extend(token, self.chance.randint(60, 600), keyed)

    async def adjust(self) -> None:
        if self.chance.random() < 0.2:
            await self.system.create(f"NEW-{len(self.done)}-{self.chance.random()}", 3)
        await self.system.shard.adjust(Adjust(fresh_token(), "f", "MUG", self.chance.choice((-1, 3)), "counted"))

    async def cart(self) -> None:
        coupon = self.chance.choice((None, "TEN"))
        with suppress(AssertionError):  # a customer's cart may be one that is being paid
            self.carts.append(
                await fill_cart(self.system, {self.chance.choice(SKUS): 1}, customer=self.customer(), coupon=coupon)
            )

    async def merge(self) -> None:
        if len(self.carts) > 1:
            into, source = self.chance.sample(self.carts, 2)
            if into != source:
                await self.system.desk.merge(CATALOGUE, into, source, self.customer())

    async def order(self) -> None:
        if not self.carts or self.chance.random() < 0.3:
            await self.cart()
        if not self.carts:
            return
        cart = self.chance.choice(self.carts[-3:])
        customer, is_pending = self.customer(), self.chance.random() < 0.5
        placed = await self.system.desk.check_out(CATALOGUE, cart, checkout(customer=customer, is_pending=is_pending))
        if isinstance(placed, Answer):
            self.orders.append(placed.value)

    async def pay(self) -> None:
        if self.orders:
            status = self.chance.choice((PaymentStatus.SUCCEEDED, PaymentStatus.FAILED, PaymentStatus.CANCELED))
            await self.system.desk.pay(CATALOGUE, self.chance.choice(self.orders).token, status, "")

    async def move(self) -> None:
        for order in self.orders[-3:]:
            step = self.chance.choice(tuple(OrderStatus))
            await self.system.desk.move_order(CATALOGUE, order.token, step, "")

    async def time(self) -> None:
        await asyncio.sleep(0.006)
        await self.system.shard.expire_due()


async def lives_ms(system: System, keys: Iterable[str]) -> dict[str, int]:
    """How long Redis keeps each."""
    return {key: await system.raw.pttl(key) for key in keys}


async def test_after_any_history_a_repair_comes_to_what_a_whole_rebuild_comes_to(system: System) -> None:
    done: Counter[str] = Counter()
    for seed in SEEDS:
        await system.raw.flushdb()
        system.fence.close("emptied")
        await system.verify()
        history = History(seed, system)
        if seed == 0:
            await stock_up(system)
        await history.steps(40)
        copy = await Copy(system.settings.require_redis_url()).take()
        await history.steps(history.chance.choice((1, 10, 40)))
        await system.hold("MUG")
        await fall_back(system, copy)
        assert await system.verify() == "repaired", seed
        repaired = await system.in_redis(msgspec.json.decode)
        kept = await lives_ms(system, repaired)
        await verification.rebuild(system.settings, system.pool)
        rebuilt = await system.in_redis(msgspec.json.decode)
        kept_rebuilt = await lives_ms(system, rebuilt)
        assert repaired == rebuilt, seed
        # A rebuild keeps an order that waits for its payment from its own moment on; what was there keeps its time.
        waiting = {system.keys.order(token) for token, _ in repaired.get(system.keys.payments, [])}
        others = {key: kept[key] - kept_rebuilt[key] for key in kept.keys() - waiting}
        assert {key: by for key, by in others.items() if abs(by) > TTL_TOLERANCE_MS} == {}, seed
        await system.verify()
        await history.steps(10)
        await system.flush()
        assert (await system.audit()).is_clean
        done += history.done
    assert min(done.values()) > 5, done
