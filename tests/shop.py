"""A small shop for tests: a catalogue in memory, its stock on a system, and shoppers whose every step must succeed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from engine import cart_lines
from engine.carts import Cart, CartRecord, decode_cart
from engine.catalogue import Catalogue, Product, Variant
from engine.checkout import CheckoutRequest
from engine.coupons import Coupon
from engine.idempotency import fresh_token
from engine.orders import Order, OrderRecord, OrderStatus, PaymentStatus, decode_order
from engine.plans import Answer
from engine.pricing import Rule
from tests.system import System

ON_HAND = 100
LIMIT = 5
SKUS = ("MUG", "SHIRT-L", "LIMITED")
CATALOGUE = Catalogue(
    version=1,
    products=(
        Product(id="prod_mug", name="Mug", base_price=1_450, currency="EUR", position=1),
        Product(id="prod_shirt", name="Shirt „Æther“", base_price=50_000, currency="EUR", position=2),
        Product(id="prod_print", name="Print, 1 of 50", base_price=9_999, currency="EUR", position=3),
    ),
    variants=(
        Variant(id="var_mug", product_id="prod_mug", sku="MUG", position=1),
        Variant(id="var_shirt", product_id="prod_shirt", sku="SHIRT-L", price_adjustment=5_000, position=2),
        Variant(id="var_print", product_id="prod_print", sku="LIMITED", position=3),
    ),
    rules=(
        Rule(id="rule_bulk", name="Five and more", kind="bulk", min_quantity=5, percent=10, position=1),
        Rule(id="rule_gold", name="Gold", kind="tier", user_tier="GOLD", percent=5, position=2),
    ),
    coupons=(
        Coupon(id="coup_ten", code="TEN", kind="percentage", value=10, usage_limit=4, per_customer_limit=2, position=1),
    ),
)


async def stock_up(system: System) -> None:
    """ON_HAND units of each SKU, and a customer may have LIMIT units of the limited one."""
    await system.create("MUG", ON_HAND)
    await system.create("SHIRT-L", ON_HAND)
    await system.create("LIMITED", ON_HAND, customer_limit=LIMIT)


async def fill_cart(
    system: System, lines: Mapping[str, int], *, customer: str | None = None, coupon: str | None = None
) -> str:
    """The token of a cart with these units in it, its coupon attached; shoppers of this shop are GOLD."""
    opened = await system.desk.open_cart(CATALOGUE, customer)
    assert isinstance(opened, Answer), opened
    token = opened.value.token
    for sku, quantity in lines.items():
        variant = CATALOGUE.variant_of_sku(sku)
        assert variant is not None
        product = CATALOGUE.product(variant.product_id)
        assert product is not None
        wanted = cart_lines.Wanted(variant, product, quantity, user_tier="GOLD")
        await change_cart(system, token, partial(cart_lines.add, wanted=wanted))
    if coupon is not None:
        await change_cart(system, token, partial(cart_lines.attach_coupon, code=coupon))
    return token


async def change_cart(system: System, token: str, judge: object) -> Cart:
    """The cart as a judgement changed it."""
    changed = await system.desk.change_cart(CATALOGUE, token, judge)  # type: ignore[arg-type]
    assert isinstance(changed, Answer), changed
    return changed.value


def checkout(*, is_pending: bool = False, token: str | None = None, customer: str | None = None) -> CheckoutRequest:
    """A request for a checkout; `token` is what its idempotency key leads to."""
    return CheckoutRequest((token or fresh_token(),), "fingerprint", customer, is_pending)


async def place_order(
    system: System,
    lines: Mapping[str, int],
    *,
    customer: str | None = None,
    coupon: str | None = None,
    is_pending: bool = False,
) -> Order:
    """What a shopper gets who fills a cart and checks it out."""
    cart = await fill_cart(system, lines, customer=customer, coupon=coupon)
    placed = await system.desk.check_out(CATALOGUE, cart, checkout(is_pending=is_pending))
    assert isinstance(placed, Answer), placed
    return placed.value


async def pay(system: System, order: Order, status: PaymentStatus, transaction_id: str = "") -> Order:
    """The order after news of its payment."""
    paid = await system.desk.pay(CATALOGUE, order.token, status, transaction_id)
    assert isinstance(paid, Answer), paid
    return paid.value


async def move(system: System, order: Order, *steps: OrderStatus, tracking_number: str = "") -> Order:
    """The order after these steps of its life."""
    for step in steps:
        moved = await system.desk.move_order(CATALOGUE, order.token, step, tracking_number)
        assert isinstance(moved, Answer), moved
        order = moved.value
    return order


async def cart_in_redis(system: System, token: str) -> CartRecord:
    """The cart as Redis has it."""
    return decode_cart(await text_of(system, system.keys.cart(token)))


async def order_in_redis(system: System, token: str) -> OrderRecord:
    """The order as Redis has it."""
    return decode_order(await text_of(system, system.keys.order(token)))


async def text_of(system: System, key: str) -> str:
    """The text under a key that must be there."""
    text = await system.raw.get(key)
    assert isinstance(text, str), key
    return text
