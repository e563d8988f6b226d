"""The load: shoppers that hold, buy, ask twice and hang up in mid-request; seeded, and all of it recorded."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.connections import FAULTS, Connections
from tests.faults.answers import read_answer
from tests.faults.history import Act, Attempt, History, Lines, Operation

PATIENCE_S = 2.5
HANG_UP = 0.02
ASK_TWICE = 0.04
MAX_ASKED_AGAIN = 3


class Shop(Struct, frozen=True):
    """What is sold in one round: plain SKUs of which the first is scarce, one with a customer limit, and variants."""

    name: str
    plain: tuple[str, ...]
    limited: str
    variants: tuple[str, ...]

    @property
    def skus(self) -> tuple[str, ...]:
        return (*self.plain, self.limited, *self.variants)


class Asker:
    """Asks for operations, and writes down what came of each request."""

    def __init__(self, api_url: str, history: History, dice: random.Random) -> None:
        self.history = history
        self._api = Connections(f"{api_url}/api/v1", {})
        self._dice = dice

    async def close(self) -> None:
        await self._api.close()

    def plan(self, act: Act, client: int, method: str, path: str, body: Any = None, **members: Any) -> Operation:
        """A new operation, not asked yet, with a key where the method takes one."""
        number = self.history.next_number()
        operation = Operation(
            number=number,
            act=act,
            client=client,
            method=method,
            path=path,
            body=None if body is None else msgspec.json.encode(body),
            **members,
        )
        self.history.begin(operation)
        return operation

    async def ask(self, operation: Operation, patience_s: float = PATIENCE_S) -> Operation:
        """One request, and what came of it."""
        headers = {"Idempotency-Key": operation.key} if operation.key is not None else {}
        began_s = time.time()
        answer = None
        try:
            async with asyncio.timeout(patience_s):
                given = await self._api.ask(operation.method, operation.path, headers, operation.body)
            answer = read_answer(given.status, given.content)
        except FAULTS:
            pass
        return self.history.note(operation.number, Attempt(began_s=began_s, ended_s=time.time(), answer=answer))

    async def hang_up(self, operation: Operation) -> Operation:
        """Send the request, or a part of it, and go away."""
        headers = {"Idempotency-Key": operation.key} if operation.key is not None else {}
        request = self._api._request(operation.method, operation.path, headers, operation.body)
        is_whole = self._dice.random() < 0.7
        began_s = time.time()
        with suppress(*FAULTS):
            async with asyncio.timeout(PATIENCE_S):
                _, writer = await self._api._connect()
                writer.write(request if is_whole else request[: self._dice.randrange(1, len(request))])
                await writer.drain()
                await asyncio.sleep(self._dice.choice((0, 0, 0.002, 0.01)))
                writer.transport.abort()
        attempt = Attempt(began_s=began_s, ended_s=time.time(), is_whole=is_whole)
        return self.history.note(operation.number, attempt)

    async def persist(self, operation: Operation) -> Operation:
        """Ask, and where nothing is known afterwards ask again with the same key, a few times or not at all."""
        for _ in range(1 + self._dice.randrange(MAX_ASKED_AGAIN + 1)):
            if self._dice.random() < HANG_UP:
                operation = await self.hang_up(operation)
            else:
                operation = await self.ask(operation)
            if operation.attempts[-1].final is not None:
                break
            await asyncio.sleep(self._dice.uniform(0.05, 0.4))
        if operation.granted is not None and self._dice.random() < ASK_TWICE:
            operation = await self.ask(operation)
        return operation


class Shopper:
    """One client: does one thing after the other until the load ends."""

    def __init__(self, number: int, asker: Asker, shop: Shop, dice: random.Random) -> None:
        self._number = number
        self._asker = asker
        self._shop = shop
        self._dice = dice

    async def act(self) -> None:
        """One visit."""
        visit = self._dice.choices((self._hold, self._limited_hold, self._cart, self._adjust), (60, 10, 25, 5))[0]
        await visit()

    def plan(self, act: Act, method: str, path: str, body: Any = None, **members: Any) -> Operation:
        operation = self._asker.plan(act, self._number, method, path, body, **members)
        if method == "DELETE":
            return operation
        keyed = msgspec.structs.replace(operation, key=f"{self._shop.name}-{operation.number}")
        self._asker.history.begin(keyed)
        return keyed

    def _name(self, kind: str) -> str:
        return f"{self._shop.name}-{kind}{self._asker.history.next_number()}"

    async def _hold(self) -> None:
        skus = self._dice.sample(self._shop.plain, self._dice.choice((1, 1, 2)))
        await self._hold_of(
            tuple((sku, self._dice.choice((1, 1, 2, 3))) for sku in skus), self._name("h"), is_only=True
        )

    async def _limited_hold(self) -> None:
        customer = f"{self._shop.name}-x{self._dice.randrange(30)}"
        await self._hold_of(((self._shop.limited, 1),), customer, is_only=False)

    async def _hold_of(self, lines: Lines, customer: str, *, is_only: bool) -> None:
        ttl_s = self._dice.choice((1, 2)) if self._dice.random() < 0.12 else 600
        body = {"lines": _lines(lines), "customer_id": customer, "ttl_s": ttl_s}
        mark = customer if is_only else ""
        asked = self.plan(Act.RESERVE, "POST", "/holds", body, mark=mark, customer=customer, lines=lines)
        made = await self._asker.persist(asked)
        if made.granted is None:
            return
        hold_id = made.granted.id
        await self._think()
        choice = self._dice.random()
        if choice < 0.12:
            path, body = f"/holds/{hold_id}/extend", {"ttl_s": self._dice.choice((30, 900))}
            await self._asker.persist(self.plan(Act.EXTEND, "POST", path, body, target=hold_id))
        if choice < 0.55:
            await self._commit(hold_id)
        elif choice < 0.75:
            await self._asker.persist(self.plan(Act.RELEASE, "DELETE", f"/holds/{hold_id}", target=hold_id))
        elif choice < 0.8:  # two at once, of which one at most may be granted
            release = self.plan(Act.RELEASE, "DELETE", f"/holds/{hold_id}", target=hold_id)
            await asyncio.gather(self._commit(hold_id), self._asker.persist(release))

    async def _commit(self, hold_id: str) -> None:
        mark = self._name("r")
        path, body = f"/holds/{hold_id}/commit", {"reference": mark}
        commit = self.plan(Act.COMMIT, "POST", path, body, target=hold_id, mark=mark)
        if self._dice.random() < 0.05:  # a double click
            await asyncio.gather(self._asker.ask(commit), self._asker.ask(commit))
        else:
            await self._asker.persist(commit)

    async def _adjust(self) -> None:
        mark = self._name("a")
        sku = self._dice.choice((*self._shop.plain, *self._shop.variants))
        delta = self._dice.choice((5, 10, 20, -1, -3))
        await self._asker.persist(self.adjustment(sku, delta, mark))

    def adjustment(self, sku: str, delta: int, mark: str) -> Operation:
        body = {"delta": delta, "reason": "counted", "reference": mark}
        lines = ((sku, delta),)
        return self.plan(Act.ADJUST, "POST", f"/stock/{sku}/adjustments", body, mark=mark, lines=lines)

    async def _cart(self) -> None:
        customer = self._name("c")
        opened = await self._asker.persist(
            self.plan(Act.OPEN_CART, "POST", "/carts", {"customer_id": customer}, customer=customer)
        )
        if opened.granted is None:
            return
        cart_id = opened.granted.id
        for sku in self._dice.sample(self._shop.variants, self._dice.choice((1, 2))):
            quantity = self._dice.choice((1, 1, 2))
            path, body = f"/carts/{cart_id}/items", {"sku": sku, "quantity": quantity}
            lines = ((sku, quantity),)
            added = await self._asker.persist(
                self.plan(Act.ADD_ITEM, "POST", path, body, target=cart_id, lines=lines, customer=customer)
            )
            if added.must_be_asked_again:
                return  # what the cart has is known only at the end
        await self._think()
        if self._dice.random() < 0.75:
            await self._check_out(cart_id, customer)

    async def _check_out(self, cart_id: str, customer: str) -> None:
        wanted = self._dice.choice(("captured", "pending"))
        path, body = f"/carts/{cart_id}/checkout", {"payment": wanted}
        ordered = await self._asker.persist(
            self.plan(Act.CHECK_OUT, "POST", path, body, target=cart_id, wanted=wanted, customer=customer)
        )
        if ordered.granted is None or wanted == "captured" or self._dice.random() < 0.1:
            return
        order_id = ordered.granted.id
        await self._think()
        if self._dice.random() < 0.3:
            await self._pay(order_id, "processing")
        await self._pay(order_id, self._dice.choice(("succeeded", "succeeded", "failed")))

    async def _pay(self, order_id: str, status: str) -> None:
        body = {"status": status, "transaction_id": self._name("t")}
        await self._asker.persist(
            self.plan(Act.PAY, "POST", f"/orders/{order_id}/payment", body, target=order_id, wanted=status)
        )

    async def _think(self) -> None:
        await asyncio.sleep(self._dice.uniform(0, 0.05))


class Load:
    """Shoppers at work; they can be made to stand still, and then nothing is under way."""

    def __init__(self, asker: Asker, shop: Shop, shoppers: int, think_s: float, seed: str) -> None:
        self._think_s = think_s
        self._open = asyncio.Event()
        self._open.set()
        self._over = False
        self._busy = 0
        dice = random.Random(seed)
        self.shoppers = [Shopper(i, asker, shop, random.Random(dice.random())) for i in range(shoppers)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(shopper)) for shopper in self.shoppers]

    async def pause(self) -> None:
        """Let everybody finish the visit, and wait for that."""
        self._open.clear()
        while self._busy:  # noqa: ASYNC110 - a count, which no event is
            await asyncio.sleep(0.01)

    def resume(self) -> None:
        self._open.set()

    async def finish(self) -> None:
        """Let everybody finish the visit, and end. Raises what a shopper raised."""
        self._over = True
        self._open.set()
        await asyncio.gather(*self._tasks)

    async def _work(self, shopper: Shopper) -> None:
        while not self._over:
            await self._open.wait()
            self._busy += 1
            try:
                await shopper.act()
            finally:
                self._busy -= 1
            await asyncio.sleep(shopper._dice.uniform(0, 2 * self._think_s))


async def ask_again(asker: Asker, history: History, dice: random.Random, sample: float, patience_s: float) -> int:
    """Ask again for all of which it is unknown what became, and for some that were granted; returns how many."""
    asked = 0
    deadline = time.monotonic() + patience_s
    for operation in history.operations:
        current = operation
        if operation.must_be_asked_again:
            while True:
                current = await asker.ask(current)
                if current.attempts[-1].final is not None or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.1)
            asked += 1
        elif operation.granted is not None and dice.random() < sample:
            await asker.ask(operation)
            asked += 1
    return asked


def _lines(lines: Lines) -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": quantity} for sku, quantity in lines]
