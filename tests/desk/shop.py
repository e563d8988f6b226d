"""A shop for tests: a Desk on a real Redis, with a small catalogue and a clock that tests move."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from engine import cart_lines
from engine.carts import Cart, CartRecord, Scene
from engine.catalogue import Catalogue, Product, ProductStatus, Row, Variant
from engine.checkout import CheckoutRequest
from engine.connection import connect
from engine.coupons import Coupon
from engine.desk import Desk
from engine.fence import Fence
from engine.idempotency import Keyed, fresh_token
from engine.keys import Keys
from engine.orders import Order, OrderRecord, OrderStatus, PaymentStatus
from engine.plans import Answer, Plan
from engine.pricing import Rule
from engine.refusals import Refused
from engine.restore import Restorer
from engine.settings import Settings
from engine.stock import Adjust, StockAnswer
from tests.model.clock import ClockedShard

TEE = Product(id="prod_tee", name="Tee", base_price=1_000, currency="GBP")
MUG = Product(id="prod_mug", name="Mug", base_price=500, currency="GBP")
RUG = Product(id="prod_rug", name="Rug", base_price=9_900, currency="EUR")
VARIANTS = (
    Variant(id="var_a", product_id=TEE.id, sku="A"),
    Variant(id="var_b", product_id=TEE.id, sku="B", price_adjustment=250),
    Variant(id="var_c", product_id=MUG.id, sku="C"),
    Variant(id="var_d", product_id=MUG.id, sku="D", price_adjustment=-100),
    Variant(id="var_e", product_id=RUG.id, sku="E"),
)
TENTH_OFF = Coupon(id="coup_tenth", code="TENTH", kind="percentage", value=10)
CATALOGUE = Catalogue(1, (), (TEE, MUG, RUG), VARIANTS, (), (TENTH_OFF,))
BULK = Rule(id="rule_bulk", name="Bulk", kind="bulk", min_quantity=5, percent=10)
HALF_PRICE = Rule(id="rule_half", name="Half price", kind="seasonal", percent=50)


class Stored:
    """The orders that PostgreSQL would know."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderRecord] = {}

    async def find(self, token: str) -> OrderRecord | None:
        return self.orders.get(token)


class Shop(Struct):
    """One process' desk, and what a test needs beside it."""

    settings: Settings
    redis: Redis
    shard: ClockedShard
    desk: Desk
    stored: Stored
    now_ms: int
    catalogue: Catalogue = CATALOGUE

    # Time and catalogue

    async def pass_s(self, seconds: float) -> None:
        """Let time go by."""
        self.now_ms += int(seconds * 1000)
        await self.shard.set_clock(self.now_ms)

    def put(self, *rows: Row) -> None:
        """Change the catalogue, for what is asked from now on."""
        self.catalogue = self.catalogue.changed(self.catalogue.version + 1, rows)

    def remove(self, *ids: str) -> None:
        self.catalogue = self.catalogue.changed(self.catalogue.version + 1, (), ids)

    def discontinue(self, product: Product) -> None:
        self.put(msgspec.structs.replace(product, status=ProductStatus.DISCONTINUED))

    def scene(self) -> Scene:
        return Scene(self.catalogue, self.settings, self.now_ms)

    # Stock

    async def stock_up(self, limit: int | None = None, **units: int) -> None:
        """Bring SKUs into being."""
        for sku, on_hand in units.items():
            request = Adjust(fresh_token(), "", sku, on_hand, "created", create=True, customer_limit=limit)
            assert isinstance(await self.shard.adjust(request), StockAnswer)

    async def receive(self, sku: str, units: int) -> None:
        assert isinstance(await self.shard.adjust(Adjust(fresh_token(), "", sku, units, "received")), StockAnswer)

    async def counts(self, sku: str) -> tuple[int, int, int]:
        """Available, reserved and sold units."""
        level = await self.shard.stock(sku)
        assert level is not None
        return level.available, level.reserved, level.sold

    async def record(self, token: str) -> CartRecord:
        """A cart as Redis keeps it."""
        text: Any = await self.redis.get(Keys().cart(token))
        return msgspec.json.decode(text, type=CartRecord)

    # What shoppers do

    async def open(self, customer: str | None = None, key: Keyed | None = None) -> Cart:
        answer = await self.desk.open_cart(self.catalogue, customer, key)
        assert isinstance(answer, Answer), answer
        return answer.value

    async def show(self, cart: Cart | str, customer: str | None = None) -> Cart:
        found = await self.desk.show_cart(self.catalogue, token_of(cart), customer)
        assert isinstance(found, Cart), found
        return found

    async def try_add(
        self, cart: Cart | str, sku: str, quantity: int = 1, customer: str | None = None, **options: Any
    ) -> Answer[Cart] | Refused:
        keyed = options.pop("keyed", None)
        variant = self.catalogue.variant_of_sku(sku)
        assert variant is not None
        product = self.catalogue.product(variant.product_id)
        assert product is not None
        wanted = cart_lines.Wanted(variant, product, quantity, **options)

        def judge(scene: Scene, token: str, record: CartRecord) -> Plan[Cart] | Refused:
            return cart_lines.add(scene, token, record, wanted)

        return await self.desk.change_cart(self.catalogue, token_of(cart), judge, customer, keyed)

    async def try_set(
        self, cart: Cart | str, sku: str, quantity: int, customer: str | None = None
    ) -> Answer[Cart] | Refused:
        def judge(scene: Scene, token: str, record: CartRecord) -> Plan[Cart] | Refused:
            return cart_lines.set_quantity(scene, token, record, sku, quantity)

        return await self.desk.change_cart(self.catalogue, token_of(cart), judge, customer)

    async def try_coupon(self, cart: Cart | str, code: str, customer: str | None = None) -> Answer[Cart] | Refused:
        def judge(scene: Scene, token: str, record: CartRecord) -> Plan[Cart] | Refused:
            return cart_lines.attach_coupon(scene, token, record, code)

        return await self.desk.change_cart(self.catalogue, token_of(cart), judge, customer)

    async def try_merge(
        self, cart: Cart | str, source: Cart | str, customer: str | None = None, keyed: Keyed | None = None
    ) -> Answer[Cart] | Refused:
        return await self.desk.merge(self.catalogue, token_of(cart), token_of(source), customer, keyed)

    async def add(self, cart: Cart | str, sku: str, quantity: int = 1, **options: Any) -> Cart:
        return value_of(await self.try_add(cart, sku, quantity, **options))

    async def set(self, cart: Cart | str, sku: str, quantity: int) -> Cart:
        return value_of(await self.try_set(cart, sku, quantity))

    async def coupon(self, cart: Cart | str, code: str) -> Cart:
        return value_of(await self.try_coupon(cart, code))

    async def merge(self, cart: Cart | str, source: Cart | str, **options: Any) -> Cart:
        return value_of(await self.try_merge(cart, source, **options))

    async def try_check_out(
        self,
        cart: Cart | str,
        *,
        pending: bool = False,
        customer: str | None = None,
        tokens: tuple[str, ...] = (),
        fingerprint: str = "f",
    ) -> Answer[Order] | Refused:
        request = CheckoutRequest(tokens or (fresh_token(),), fingerprint, customer, pending)
        return await self.desk.check_out(self.catalogue, token_of(cart), request)

    async def check_out(self, cart: Cart | str, **options: Any) -> Order:
        return order_of(await self.try_check_out(cart, **options))

    async def ordered(self, sku: str = "A", quantity: int = 1, customer: str | None = None, **options: Any) -> Order:
        """The order of a cart of one line."""
        cart = await self.open(customer)
        await self.add(cart, sku, quantity)
        if code := options.pop("coupon", None):
            await self.coupon(cart, code)
        return await self.check_out(cart, **options)

    # What happens to orders

    async def order(self, order: Order | str) -> Order:
        found = await self.desk.show_order(self.catalogue, token_of(order))
        assert isinstance(found, Order), found
        return found

    async def pay(self, order: Order | str, status: str, transaction_id: str = "", **options: Any) -> Order:
        return order_of(await self.try_pay(order, status, transaction_id, **options))

    async def try_pay(
        self, order: Order | str, status: str, transaction_id: str = "", keyed: Keyed | None = None
    ) -> Answer[Order] | Refused:
        return await self.desk.pay(self.catalogue, token_of(order), PaymentStatus(status), transaction_id, keyed)

    async def try_move(
        self, order: Order | str, to: str, tracking_number: str = "", keyed: Keyed | None = None
    ) -> Answer[Order] | Refused:
        return await self.desk.move_order(self.catalogue, token_of(order), OrderStatus(to), tracking_number, keyed)

    async def move(self, order: Order | str, *steps: str) -> Order:
        """The order after these transitions, each of which must be allowed."""
        moved = await self.order(order)
        for to in steps:
            moved = order_of(await self.try_move(order, to))
        return moved


def token_of(thing: Cart | Order | str) -> str:
    return thing if isinstance(thing, str) else thing.token


def value_of(answer: Answer[Cart] | Refused) -> Cart:
    assert isinstance(answer, Answer), answer
    return answer.value


def order_of(answer: Answer[Order] | Refused) -> Order:
    assert isinstance(answer, Answer), answer
    return answer.value


def lines_of(cart: Cart) -> dict[str, tuple[int, str]]:
    """Each line's units and status."""
    return {item.sku: (item.quantity, item.status) for item in cart.items}


@asynccontextmanager
async def open_shop(redis_url: str, **settings: Any) -> AsyncIterator[Shop]:
    """A shop on an empty Redis."""
    redis = connect(Settings(redis_url=redis_url))
    try:
        await redis.flushall()
        await Restorer(redis, Keys()).open(1, "test")
        async with another_process(Settings(redis_url=redis_url, **settings), redis, Stored()) as shop:
            await shop.pass_s(0)
            yield shop
    finally:
        await redis.aclose()


@asynccontextmanager
async def another_process(settings: Settings, redis: Redis, stored: Stored) -> AsyncIterator[Shop]:
    """A desk of its own at what is in Redis, as another process has it."""
    fence = Fence()
    fence.open("this server", 1)
    shard = ClockedShard(redis, fence, settings)
    try:
        yield Shop(settings, redis, shard, Desk(shard, settings, stored.find), stored, int(time.time() * 1000))
    finally:
        await shard.close()
