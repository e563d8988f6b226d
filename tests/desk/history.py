"""One random history of shoppers, payments and the shop itself, by two processes; its books are checked at every step.

Three customers and guests, four SKUs of which little is there, one coupon with limits; the clock jumps over windows and
deadlines. What an act came to is not foretold: what must hold afterwards is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

from msgspec.structs import replace

from engine.carts import Cart, CartRecord
from engine.idempotency import Keyed, fingerprint, fresh_token
from engine.orders import TRANSITIONS, Order, OrderRecord, PaymentStatus
from engine.plans import Answer
from engine.refusals import Refused
from engine.stock import Adjust
from tests.desk.books import Books, check_books
from tests.desk.shop import HALF_PRICE, TENTH_OFF, Shop

WINDOW_S, HOLD_S, LIFE_S = 30, 60, 150
COUPON = replace(TENTH_OFF, usage_limit=1, per_customer_limit=1)
WEIGHTS = {
    "open": 3,
    "add": 12,
    "set": 6,
    "coupon": 5,
    "merge": 6,
    "check out": 10,
    "pay": 10,
    "move": 8,
    "look": 2,
    "adjust": 2,
}
NEWS = ("succeeded", "succeeded", "succeeded", "failed", "canceled", "processing", "requires_action")
MOVES = ("processing", "shipped", "delivered", "completed", "canceled", "returned")


class History:
    """What was done so far, and what it made."""

    def __init__(self, seed: int, shop: Shop, other: Shop) -> None:
        self.chance = Random(seed)
        self.shop, self.other = shop, other
        self.carts: list[str] = []
        self.orders: dict[str, OrderRecord] = {}
        self.trail: list[str] = []
        self.came_to: Counter[tuple[str, str]] = Counter()

    async def begin(self) -> None:
        await self.shop.stock_up(A=self.chance.randint(2, 8), B=4)
        await self.shop.stock_up(self.chance.randint(1, 4), C=12, D=3)
        self.change_prices()
        self.carts = [(await self.shop.open(customer)).token for customer in ("bob", "eve", None)]
        self.books = await check_books(self.shop.redis, self.shop.catalogue)

    def change_prices(self) -> None:
        self.shop.put(replace(HALF_PRICE, active=self.chance.random() < 0.5), COUPON)
        self.other.catalogue = self.shop.catalogue

    async def step(self) -> None:
        """One act, several at once, or time that goes by; and then the books."""
        dice = self.chance.random()
        if dice < 0.72:
            await self.one()
        elif dice < 0.86:
            await self.several()
        elif dice < 0.95:
            await self.time_passes()
        else:
            await self.meanwhile()

    async def one(self) -> None:
        before, act = self.books, self.choose()
        answer = await self.do(act, self.chance.choice((self.shop, self.other)))
        self.note(act, answer)
        await self.check()
        if isinstance(answer, Refused):
            due = {token for token, order in before.orders.items() if order.payment.until_ms <= self.shop.now_ms}
            assert untouched(self.books, due) == untouched(before, due), answer

    async def several(self) -> None:
        acts = [self.choose() for _ in range(self.chance.randint(2, 8))]
        if self.chance.random() < 0.4:
            acts = [acts[0]] * len(acts)
        shops = (self.shop, self.other)
        answers = await asyncio.gather(*(self.do(act, shops[i % 2]) for i, act in enumerate(acts)))
        for act, answer in zip(acts, answers, strict=True):
            self.note(act, answer)
        await self.check()

    async def time_passes(self) -> None:
        seconds = self.chance.choice((1, 10, WINDOW_S, WINDOW_S, HOLD_S, LIFE_S))
        self.trail.append(f"{seconds} s")
        await self.shop.pass_s(seconds)
        self.other.now_ms = self.shop.now_ms

    async def meanwhile(self) -> None:
        job = self.chance.choice(("expire", "lapse", "prices"))
        self.trail.append(job)
        match job:
            case "expire":
                await self.shop.shard.expire_due()
            case "lapse":
                await self.other.desk.lapse_due(self.other.catalogue)
            case _:
                self.change_prices()
        await self.check()

    # Choosing and doing

    def choose(self) -> tuple[Any, ...]:
        """A verb and what it is about: mostly what it can work on, now and then anything."""
        pick, chance = self.chance.choice, self.chance.random
        (verb,) = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        key = pick(("k1", "k2", "k3")) if chance() < 0.15 else None
        cart = self.cart()
        about: tuple[Any, ...] = (cart,)
        match verb:
            case "open":
                about = (pick(("bob", "eve", "ann", None)), key)
            case "add":
                about = (cart, pick("AABCD"), self.chance.randint(1, 3), key)
            case "set":
                lines = self.books.carts[cart].lines if cart in self.books.carts else ()
                sku = pick(lines).sku if lines and chance() < 0.9 else pick("ABCD")
                about = (cart, sku, self.chance.randint(0, 4))
            case "coupon":
                about = (cart, pick(("TENTH", "TENTH", "TENTH", "")))
            case "merge":
                guests = [token for token, record in self.open_carts() if not record.customer and token != cart]
                about = (cart, pick(guests) if guests and chance() < 0.9 else self.cart(), key)
            case "check out":
                about = (cart, chance() < 0.6, pick((None, None, None, "bob", "eve")), key)
            case "pay":
                about = (self.order(), pick(NEWS), key)
            case "move":
                about = (*self.move(), key)
            case "adjust":
                about = (pick("ABCD"), pick((-2, -1, 1, 2)))
        return verb, *about

    def open_carts(self) -> list[tuple[str, CartRecord]]:
        return [(token, self.books.carts[token]) for token in self.carts if self.books.carts[token].status == "open"]

    def cart(self) -> str:
        """An open cart, the latest the likeliest; now and then any."""
        if (found := self.open_carts()) and self.chance.random() < 0.85:
            return found[-1 - min(int(self.chance.expovariate(0.5)), len(found) - 1)][0]
        return self.chance.choice(self.carts)

    def order(self) -> str:
        """An order that waits for its payment, or one of the latest; "nobody" where there is none."""
        waiting = [token for token in self.orders if self.books.orders[token].is_waiting]
        if waiting and self.chance.random() < 0.6:
            return self.chance.choice(waiting)
        return self.chance.choice(list(self.orders)[-8:] or ["nobody"])

    def move(self) -> tuple[str, str]:
        """An order, and mostly a status that its life lets follow."""
        order = self.chance.choice(list(self.orders)[-12:] or ["nobody"])
        allowed = sorted(TRANSITIONS.get(self.orders[order].status, ())) if order in self.orders else ()
        return order, self.chance.choice(allowed if allowed and self.chance.random() < 0.7 else MOVES)

    async def do(self, act: tuple[Any, ...], shop: Shop) -> Any:  # noqa: PLR0911 - one a verb
        verb, *rest = act
        match verb:
            case "open":
                return await shop.desk.open_cart(shop.catalogue, rest[0], named(verb, rest[1], rest[0]))
            case "add":
                cart, sku, quantity, key = rest
                return await shop.try_add(cart, sku, quantity, keyed=named(verb, key, cart, sku, quantity))
            case "set":
                return await shop.try_set(*rest)
            case "coupon":
                return await shop.try_coupon(*rest)
            case "merge":
                cart, source, key = rest
                return cart != source and await shop.try_merge(cart, source, keyed=named(verb, key, cart, source))
            case "check out":
                cart, pending, customer, key = rest
                tokens, mark = (key, f"{key}-late") if key else (), fingerprint((cart, pending, customer))
                ways = {"pending": pending, "customer": customer, "tokens": tokens, "fingerprint": mark}
                return await shop.try_check_out(cart, **ways)
            case "pay":
                return await shop.try_pay(rest[0], rest[1], keyed=named(verb, rest[2], *rest[:2]))
            case "move":
                return await shop.try_move(rest[0], rest[1], keyed=named(verb, rest[2], *rest[:2]))
            case "look":
                return await shop.desk.show_cart(shop.catalogue, rest[0])
            case _:
                return await shop.shard.adjust(Adjust(fresh_token(), "f", rest[0], rest[1], "counted"))

    def note(self, act: tuple[Any, ...], answer: Any) -> None:
        self.trail.append(f"{act} -> {outcome(answer)}")
        self.came_to[act[0], outcome(answer)] += 1
        if isinstance(answer, Answer) and isinstance(answer.value, Cart) and answer.value.token not in self.carts:
            self.carts.append(answer.value.token)
        if isinstance(answer, Answer) and isinstance(answer.value, Order):
            self.orders.setdefault(answer.value.token, answer.value.record)

    # What must hold

    async def check(self) -> None:
        self.books = await check_books(self.shop.redis, self.shop.catalogue)
        assert self.books.orders.keys() == self.orders.keys()
        for token, before in self.orders.items():
            now = self.books.orders[token]
            assert (now.items, now.total, now.customer) == (before.items, before.total, before.customer)
            assert now.timeline[: len(before.timeline)] == before.timeline
            is_paid = now.payment.status is PaymentStatus.SUCCEEDED
            assert is_paid or before.payment.status is not PaymentStatus.SUCCEEDED
            assert now.stock in ("sold", "returned") or now.refund_reason or not is_paid, now
            self.orders[token] = now

    async def end(self) -> None:
        """Once every window is over nothing is held, nothing waits, and every cart can be used or is done with."""
        await self.shop.pass_s(1_000)
        await self.shop.desk.lapse_due(self.shop.catalogue)
        await self.shop.shard.expire_due()
        await self.check()
        assert self.books.live == {}
        assert {cart.status for cart in self.books.carts.values()} <= {"open", "ordered", "merged"}
        assert not any(order.is_waiting for order in self.books.orders.values())


def outcome(answer: Any) -> str:
    """What an act came to, in a word or two."""
    match answer:
        case Refused():
            return answer.refusal.value
        case Answer() if answer.replayed:
            return "replayed"
        case Answer(value=Order()):
            return f"{answer.value.record.status.value}, {answer.value.record.stock}"
        case Answer(value=Cart()):
            return "partly" if answer.value.not_merged else "done"
        case _:
            return "done" if answer else "nothing"


def named(verb: str, key: str | None, *payload: Any) -> Keyed | None:
    return None if key is None else Keyed(f"{verb}-{key}", fingerprint(payload))


def untouched(books: Books, due: set[str]) -> tuple[Any, ...]:
    """The carts and orders, without the orders whose payment window is over and the carts of those."""
    carts = {token: cart for token, cart in books.carts.items() if cart.order not in due}
    orders = {token: order for token, order in books.orders.items() if token not in due}
    return carts, orders
