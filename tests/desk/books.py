"""The books of a shop: what must hold of everything in Redis together, whatever was done."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from engine.carts import CartRecord, customer_token, token_of_pointer
from engine.catalogue import Catalogue
from engine.events import Adjusted, Committed, Event, Expired, Released, Reserved, Returned, read_entry
from engine.holds import HoldRecord, HoldStatus, decode_record
from engine.keys import Keys
from engine.orders import OrderRecord
from engine.stock import StockLevel, level_of_row
from tests.bundles import live_deadlines_in

KEYS = Keys()
CART, ORDER, HOLD, POINTER = KEYS.cart(""), KEYS.order(""), KEYS.hold(""), KEYS.cart_of("")
FACTORS: dict[type, tuple[int, int, int]] = {
    Reserved: (-1, 1, 0),
    Committed: (0, -1, 1),
    Released: (1, -1, 0),
    Expired: (1, -1, 0),
    Returned: (1, 0, -1),
}


class Books(Struct):
    """Everything of a shop as it stands in Redis, with nothing reclaimed for the asking."""

    levels: dict[str, StockLevel]
    live: dict[str, HoldRecord]
    carts: dict[str, CartRecord]
    orders: dict[str, OrderRecord]
    pointers: dict[str, str]
    customers: dict[str, int]
    coupons: dict[str, int]
    deadlines: dict[str, float]
    payments: dict[str, float]


async def read_books(redis: Redis) -> Books:
    names = [key async for key in redis.scan_iter(match=f"{KEYS.tag}*", count=1_000)]
    texts: Any = {}
    for prefix in (CART, ORDER, HOLD, POINTER):
        found = [name for name in names if name.startswith(prefix)]
        values = await redis.mget(found) if found else []
        texts[prefix] = {name.removeprefix(prefix): text for name, text in zip(found, values, strict=True)}
    stock: Any = await redis.hgetall(KEYS.stock)
    customers: Any = await redis.hgetall(KEYS.customers)
    coupons: Any = await redis.hgetall(KEYS.coupons)
    payments: Any = await redis.zrange(KEYS.payments, 0, -1, withscores=True)
    records = {token: decode_record(text) for token, text in texts[HOLD].items()}
    return Books(
        {sku: level_of_row(sku, row) for sku, row in stock.items()},
        {token: record for token, record in records.items() if record.status is HoldStatus.HELD},
        {token: msgspec.json.decode(text, type=CartRecord) for token, text in texts[CART].items()},
        {token: msgspec.json.decode(text, type=OrderRecord) for token, text in texts[ORDER].items()},
        {customer: token_of_pointer(text) for customer, text in texts[POINTER].items()},
        {field: int(units) for field, units in customers.items()},
        {field: int(uses) for field, uses in coupons.items()},
        await live_deadlines_in(redis, KEYS),
        dict(payments),
    )


async def check_books(redis: Redis, catalogue: Catalogue) -> Books:
    """The books, in which nothing contradicts anything else."""
    books = await read_books(redis)
    check_units(books)
    check_owners(books)
    check_customers(books)
    check_coupons(books, catalogue)
    check_carts(books)
    await check_log(redis, books)
    return books


def check_units(books: Books) -> None:
    """No unit is lost or there twice."""
    reserved: Counter[str] = Counter()
    for hold in books.live.values():
        for sku, quantity in hold.lines:
            reserved[sku] += quantity
    sold: Counter[str] = Counter()
    for order in books.orders.values():
        for item in order.items if order.stock == "sold" else ():
            sold[item.sku] += item.quantity
    for sku, level in books.levels.items():
        assert level.received == level.available + level.reserved + level.sold, level
        assert min(level.available, level.reserved, level.sold) >= 0, level
        assert (level.reserved, level.sold) == (reserved[sku], sold[sku]), sku
    assert books.deadlines == {token: hold.expires_ms for token, hold in books.live.items()}


def check_owners(books: Books) -> None:
    """Every live hold is of one line of one open cart, or of one order that waits for its payment."""
    owners: Counter[str] = Counter()
    for cart in books.carts.values():
        assert len({line.sku for line in cart.lines}) == len(cart.lines)
        for line in cart.lines if cart.status == "open" else ():
            owners[line.hold] += 1
            hold = books.live.get(line.hold)
            if hold is not None:
                assert (hold.customer, hold.lines) == (cart.customer, ((line.sku, line.quantity),))
                assert hold.expires_ms == line.until_ms
    for order in books.orders.values():
        assert (order.holds != ()) == order.is_waiting
        for token, item in zip(order.holds, order.items, strict=order.is_waiting):
            owners[token] += 1
            hold = books.live.get(token)
            if hold is not None:
                assert (hold.customer, hold.lines) == (order.customer, ((item.sku, item.quantity),))
                assert hold.expires_ms == order.payment.until_ms
    assert {token: owners[token] for token in books.live} == dict.fromkeys(books.live, 1)
    assert books.payments == {
        token: order.payment.until_ms for token, order in books.orders.items() if order.is_waiting
    }


def check_customers(books: Books) -> None:
    """What counts for a customer is what the customer holds and was sold, within the limit."""
    expected: Counter[str] = Counter()
    limited = {sku: level.customer_limit for sku, level in books.levels.items() if level.customer_limit is not None}
    for hold in books.live.values():
        for sku, quantity in hold.lines:
            if sku in limited and hold.customer:
                expected[f"{sku}|{hold.customer}"] += quantity
    for order in books.orders.values():
        for item in order.items if order.stock == "sold" else ():
            if item.sku in limited and order.customer:
                expected[f"{item.sku}|{order.customer}"] += item.quantity
    assert books.customers == dict(expected)
    for field, units in books.customers.items():
        assert units <= (limited[field.split("|")[0]] or 0), field


def check_coupons(books: Books, catalogue: Catalogue) -> None:
    """A coupon is counted for just the orders that have it, within its limits."""
    expected: Counter[str] = Counter()
    for order in books.orders.values():
        if order.is_coupon_counted:
            expected[order.coupon_id] += 1
            if order.customer:
                expected[f"{order.coupon_id}|{order.customer}"] += 1
    assert books.coupons == dict(expected)
    for field, uses in books.coupons.items():
        coupon = catalogue.coupon_of_id(field.split("|")[0])
        if coupon is not None:
            limit = coupon.per_customer_limit if "|" in field else coupon.usage_limit
            assert limit is None or uses <= limit, field


def check_carts(books: Books) -> None:
    """A customer has one live cart, to which the customer's pointer leads; a cart being paid has its waiting order."""
    live = {token: cart for token, cart in books.carts.items() if cart.status in ("open", "paying")}
    owned = {customer_token(cart.customer): token for token, cart in live.items() if cart.customer}
    assert len(owned) == sum(cart.customer != "" for cart in live.values())
    assert books.pointers == owned
    for token, cart in live.items():
        assert (cart.currency == "") == (cart.lines == ()), token
        if cart.status == "paying":
            order = books.orders[cart.order]
            assert order.is_waiting and order.cart_token == token


async def check_log(redis: Redis, books: Books) -> None:
    """The log, from its very beginning, tells of every change: it adds up to the counts, carts and orders."""
    sums = {sku: [0, 0, 0] for sku in books.levels}
    carts: dict[str, CartRecord] = {}
    orders: dict[str, OrderRecord] = {}
    entries: Any = await redis.xrange(KEYS.events)
    for entry_id, fields in entries:
        for event in read_entry(entry_id, fields).events:
            assert isinstance(event, Event), event
            body: Any = event.body
            match event.kind:
                case "cart":
                    carts[body.token] = body.record
                case "order":
                    orders[body.token] = body.record
                case "adjust":
                    assert isinstance(body, Adjusted)
                    sums[body.sku][0] += body.delta
                case _:
                    for sku, quantity in body.lines:
                        factors = FACTORS[type(body)]
                        sums[sku] = [n + factor * quantity for n, factor in zip(sums[sku], factors, strict=True)]
    for sku, level in books.levels.items():
        assert tuple(sums[sku]) == (level.available, level.reserved, level.sold), sku
    assert carts == books.carts
    assert orders == books.orders
