"""Reads the final state: everything that a history touched, from HTTP, Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from benchmarks.connections import FAULTS, Connections
from benchmarks.queries import read_queries
from engine.keys import Keys
from engine.stock import level_of_row
from tests.faults.answers import money_of, seconds_of, units_of
from tests.faults.final import Final, HoldState, LedgerRow, Level, OrderState
from tests.faults.history import Act, History, Lines, Money
from tests.faults.system import NotThereError

SQL = read_queries(Path(__file__).with_name("state.sql"))
AT_ONCE = 16
POLL_S = 0.1
STEADY_S = 5.0
KEYS = Keys()

T = TypeVar("T")


class Place(Struct, frozen=True):
    """How far the log goes in Redis, and how far it is applied in PostgreSQL, as (epoch, seq)."""

    redis: tuple[int, int]
    sql: tuple[int, int]

    @property
    def is_drained(self) -> bool:
        return self.redis == self.sql


class Site(Struct):
    """Where a running system is asked; past any proxy."""

    api: Connections
    root: Connections
    redis_url: str
    database_url: str

    async def close(self) -> None:
        await self.api.close()
        await self.root.close()

    async def query(self, ask: Callable[[asyncpg.Connection[Any]], Awaitable[T]]) -> T:
        connection = await asyncpg.connect(self.database_url, timeout=5, command_timeout=30)
        try:
            return await ask(connection)
        finally:
            await connection.close(timeout=5)

    def redis(self) -> Redis:
        return Redis.from_url(self.redis_url, decode_responses=True, socket_timeout=5)

    async def get(self, path: str) -> dict[str, Any] | None:
        """The body; None for a 404. Raises NotThereError for any other answer."""
        for _ in range(40):
            try:
                answer = await self.api.ask("GET", path, {}, None)
            except FAULTS:
                await asyncio.sleep(POLL_S)
                continue
            if answer.status == 200:
                return dict(msgspec.json.decode(answer.content))
            if answer.status == 404:
                return None
            await asyncio.sleep(POLL_S)
        raise NotThereError(f"GET {path} is not answered")

    async def get_all(self, paths: Iterable[str]) -> list[dict[str, Any] | None]:
        """The bodies of many, a few at once, in order."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(path: str) -> dict[str, Any] | None:
            async with turns:
                return await self.get(path)

        return list(await asyncio.gather(*(one(path) for path in paths)))

    async def place(self) -> Place:
        async with self.redis() as redis:
            epoch, seq = await redis.hmget(KEYS.meta, ["epoch", "seq"])
        row: Any = await self.query(lambda connection: connection.fetchrow(SQL["offset"]))
        return Place((int(epoch or 0), int(seq or 0)), (row["epoch"], row["seq"]))


async def drained(site: Site, timeout_s: float) -> bool:
    """Whether PostgreSQL caught up with Redis within the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (await site.place()).is_drained:
            return True
        await asyncio.sleep(POLL_S)
    return False


async def read_final(site: Site, history: History, skus: tuple[str, ...], patience_s: float) -> Final:
    """The state once both sides agree and every deadline that passed was swept; at the end of the patience as it is."""
    deadline = time.monotonic() + patience_s
    while True:
        is_drained = await drained(site, max(0.2, deadline - time.monotonic()))
        final = await _read(site, history, skus)
        settled = all(
            hold.status != "held" or hold.expires_s > final.at_s + STEADY_S for hold in final.sql_holds.values()
        )
        if time.monotonic() >= deadline or (is_drained and settled and final.redis == final.api == final.sql):
            return final
        await asyncio.sleep(POLL_S)


async def _read(site: Site, history: History, skus: tuple[str, ...]) -> Final:
    levels = await site.get_all(f"/stock/{sku}" for sku in skus)
    async with site.redis() as redis:
        rows: Any = await redis.hmget(KEYS.stock, list(skus))
    in_redis, limits = {}, {}
    for sku, row in zip(skus, rows, strict=True):
        if row is not None:
            level = level_of_row(sku, row)
            in_redis[sku] = Level(level.available, level.reserved, level.sold, level.received)
            if level.customer_limit is not None:
                limits[sku] = level.customer_limit
    api = {
        sku: Level(
            level["available"], level["reserved"], level["sold"], in_redis[sku].received if sku in in_redis else 0
        )
        for sku, level in zip(skus, levels, strict=True)
        if level is not None
    }
    stored = await site.query(lambda connection: _stored(connection, history, skus))
    at_s = time.time()
    return Final(
        at_s=at_s,
        redis=in_redis,
        api=api,
        api_holds=await _api_holds(site, history),
        api_orders=await _api_orders(site, history),
        carts=await _api_carts(site, history),
        limits=limits,
        **stored,
    )


async def _api_holds(site: Site, history: History) -> dict[str, HoldState]:
    ids = sorted({each.granted.id for each in history.of(Act.RESERVE) if each.granted is not None})
    bodies = await site.get_all(f"/holds/{hold_id}" for hold_id in ids)
    return {
        hold_id: HoldState(
            hold_id,
            body["status"],
            body["customer_id"] or "",
            tuple((line["sku"], line["quantity"]) for line in body["lines"]),
            seconds_of(body["created_at"]),
            seconds_of(body["expires_at"]),
        )
        for hold_id, body in zip(ids, bodies, strict=True)
        if body is not None
    }


async def _api_orders(site: Site, history: History) -> dict[str, OrderState]:
    ids = sorted({each.granted.id for each in history.of(Act.CHECK_OUT) if each.granted is not None})
    bodies = await site.get_all(f"/orders/{order_id}" for order_id in ids)
    return {
        order_id: OrderState(
            order_id, body["cart_id"], body["status"], body["payment"]["status"], units_of(body), money_of(body)
        )
        for order_id, body in zip(ids, bodies, strict=True)
        if body is not None
    }


async def _api_carts(site: Site, history: History) -> tuple[tuple[str, Lines], ...]:
    ids = sorted({each.granted.id for each in history.of(Act.OPEN_CART) if each.granted is not None})
    bodies = await site.get_all(f"/carts/{cart_id}" for cart_id in ids)
    return tuple(
        (
            cart_id,
            tuple((item["sku"], item["quantity"]) for item in body["items"] if item["status"] == "held"),
        )
        for cart_id, body in zip(ids, bodies, strict=True)
        if body is not None and body["status"] in ("open", "paying")
    )


async def _stored(connection: asyncpg.Connection[Any], history: History, skus: tuple[str, ...]) -> dict[str, Any]:
    """PostgreSQL's side, all of one moment."""
    customers = sorted({each.customer for each in history.of(Act.RESERVE)})
    buyers = sorted({each.customer for each in history.of(Act.OPEN_CART)})
    carts = sorted({each.target for each in history.of(Act.CHECK_OUT)})
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        levels = await connection.fetch(SQL["levels"], list(skus))
        holds = await connection.fetch(SQL["holds"], customers)
        hold_lines = await connection.fetch(SQL["hold_lines"], [row["id"] for row in holds])
        orders = await connection.fetch(SQL["orders"], carts, buyers)
        items = await connection.fetch(SQL["order_items"], [row["id"] for row in orders])
        ledger = await connection.fetch(SQL["ledger"], list(skus))
        repeated = await connection.fetch(SQL["repeated"], list(skus))
        quarantined = await connection.fetchval(SQL["quarantined"])
    lines: dict[str, list[tuple[str, int]]] = {}
    for hold_id, sku, quantity in hold_lines:
        lines.setdefault(hold_id, []).append((sku, quantity))
    return {
        "sql": {sku: Level(*counts) for sku, *counts in levels},
        "sql_holds": {
            row["id"]: HoldState(
                row["id"],
                row["status"],
                row["customer"],
                tuple(lines.get(row["id"], ())),
                row["created_s"],
                row["expires_s"],
                row["settled_s"],
            )
            for row in holds
        },
        "sql_orders": tuple(_order(row, [item for item in items if item["order_id"] == row["id"]]) for row in orders),
        "ledger": tuple(LedgerRow(*row) for row in ledger),
        "repeated": tuple(row["sku"] for row in repeated),
        "quarantined": quarantined,
    }


def _order(row: asyncpg.Record, items: list[asyncpg.Record]) -> OrderState:
    return OrderState(
        row["id"],
        row["cart_id"],
        row["status"],
        row["payment_status"],
        tuple((item["sku"], item["quantity"]) for item in items),
        Money(
            row["subtotal"],
            row["discount"],
            row["total"],
            row["currency"],
            tuple((item["sku"], item["total_price"]) for item in items),
        ),
        row["stock"],
    )
