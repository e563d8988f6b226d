"""The desk: where carts and orders are read, judged and changed; what somebody else changed meanwhile is judged again.

A judgement (engine/cart_lines.py, merging.py, checkout.py, payments.py) is a pure function of what was read. What comes
of it is written by one trade, which happens only if those records are still as they were read.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from engine import checkout, merging, payments
from engine.carts import (
    LIVE,
    Cart,
    CartRecord,
    Scene,
    appraise,
    customer_token,
    decode_cart,
    known_cart,
    pointer_version,
    put_cart,
    token_of_pointer,
    unusable,
)
from engine.catalogue import Catalogue
from engine.errors import Unavailable
from engine.idempotency import Keyed, fresh_token
from engine.orders import ID_PREFIX, KnownOrder, Order, OrderRecord, OrderStatus, PaymentStatus, decode_order
from engine.plans import Answer, Plan
from engine.refusals import Refusal, Refused
from engine.settings import Settings
from engine.shard import Shard
from engine.trade import Known, Trade
from engine.trader import Memory, Trader, memory_of, replay, too_contended

MAX_ATTEMPTS = 20
LAPSE_AT_ONCE = 200
LAPSE_AGAIN_MS = 600_000

log = logging.getLogger(__name__)

T = TypeVar("T")
StoredOrder = Callable[[str], Awaitable[OrderRecord | None]]
Judgement = Callable[[Scene, str, CartRecord], Plan[Cart] | Refused]


_decode_cart_answer = msgspec.json.Decoder(Cart).decode
_decode_order_answer = msgspec.json.Decoder(Order).decode


class Desk:
    """Everything that is done to carts and orders. Expected refusals are values; Unavailable is raised for faults.

    `stored_order` finds an order that Redis let go of.
    """

    def __init__(self, shard: Shard, settings: Settings, stored_order: StoredOrder) -> None:
        self._shard = shard
        self._settings = settings
        self._stored_order = stored_order
        self._trader = Trader(shard)

    # Carts

    async def open_cart(
        self, catalogue: Catalogue, customer_id: str | None, keyed: Keyed | None = None
    ) -> Answer[Cart] | Refused:
        """The live cart of a customer, made if there is none; for a guest a new one. A customer has one live cart."""
        memory = memory_of(keyed, _decode_cart_answer)
        async with self._trader.turn(f"customer:{customer_id}" if customer_id is not None else fresh_token()):
            for _ in range(MAX_ATTEMPTS):
                pointer, replayed, now_ms = await self._pointer(customer_id, memory)
                if replayed is not None:
                    return replayed
                scene = Scene(catalogue, self._settings, now_ms)
                if pointer is not None:
                    found = await self.show_cart(catalogue, pointer, customer_id)
                    if isinstance(found, Cart) and found.status in LIVE:
                        return await self._trader.as_it_is(found, memory)
                token = fresh_token()
                record = CartRecord(
                    version=1,
                    status="open",
                    customer=customer_id or "",
                    currency="",
                    created_ms=now_ms,
                    expires_ms=now_ms + self._settings.cart_life_s * 1000,
                )
                known = [known_cart(token, None)]
                if customer_id is not None:
                    version = 0 if pointer is None else pointer_version(pointer)
                    known.append(Known("customer", customer_token(customer_id), version))
                trade = Trade(known=tuple(known), put=put_cart(scene, token, record))
                made = msgspec.structs.replace(appraise(scene, token, record), is_new=True)
                done = await self._trader.attempt(Plan(trade, made), memory)
                if done is not None:
                    return done
        raise too_contended()

    async def _pointer(
        self, customer_id: str | None, memory: Memory[Cart] | None
    ) -> tuple[str | None, Answer[Cart] | Refused | None, int]:
        keys = self._shard.keys
        wanted = [] if memory is None else [keys.memory(memory.keyed.token)]
        if customer_id is not None:
            wanted.append(keys.cart_of(customer_token(customer_id)))
        now_ms, texts = await self._shard.texts(*wanted)
        replayed = None if memory is None else replay(memory, texts[0])
        text = texts[-1] if customer_id is not None else None
        return (None if text is None else token_of_pointer(text)), replayed, now_ms

    async def show_cart(self, catalogue: Catalogue, token: str, named_customer: str | None = None) -> Cart | Refused:
        """A cart as it stands now."""
        for _ in range(MAX_ATTEMPTS):
            record, _, now_ms = await self._cart(token, None)
            if record is None:
                return Refused(Refusal.UNKNOWN_CART)
            if named_customer is not None and record.customer not in ("", named_customer):
                return Refused(Refusal.FOREIGN_CART)
            scene = Scene(catalogue, self._settings, now_ms)
            if record.status == "paying" and await self._lapsed(scene, record):
                continue
            return appraise(scene, token, record)
        raise too_contended()

    async def change_cart(
        self,
        catalogue: Catalogue,
        token: str,
        judge: Judgement,
        named_customer: str | None = None,
        keyed: Keyed | None = None,
    ) -> Answer[Cart] | Refused:
        """What `judge` makes of an open cart."""
        memory = memory_of(keyed, _decode_cart_answer)
        async with self._trader.turn(token):
            for _ in range(MAX_ATTEMPTS):
                record, replayed, now_ms = await self._cart(token, memory)
                if replayed is not None:
                    return replayed
                scene = Scene(catalogue, self._settings, now_ms)
                if record is None:
                    return Refused(Refusal.UNKNOWN_CART)
                if record.status == "paying" and await self._lapsed(scene, record):
                    continue
                plan = unusable(record, named_customer) or judge(scene, token, record)
                done = plan if isinstance(plan, Refused) else await self._trader.attempt(plan, memory)
                if done is not None:
                    return done
        raise too_contended()

    async def merge(
        self,
        catalogue: Catalogue,
        token: str,
        source_token: str,
        named_customer: str | None = None,
        keyed: Keyed | None = None,
    ) -> Answer[Cart] | Refused:
        """A guest's cart put into another one; what does not fit is told, and is no failure."""
        memory = memory_of(keyed, _decode_cart_answer)
        async with self._trader.turn(min(token, source_token)), self._trader.turn(max(token, source_token)):
            for _ in range(MAX_ATTEMPTS):
                record, replayed, now_ms = await self._cart(token, memory)
                if replayed is not None:
                    return replayed
                source, _, _ = await self._cart(source_token, None)
                if record is None or source is None:
                    return Refused(Refusal.UNKNOWN_CART)
                scene = Scene(catalogue, self._settings, now_ms)
                if record.status == "paying" and await self._lapsed(scene, record):
                    continue
                if source.status == "paying" and await self._lapsed(scene, source):
                    continue
                refused = unusable(record, named_customer) or unusable(source, record.customer)
                if refused is not None:
                    return refused
                sides = merging.Sides(token, record, source_token, source)
                plan = merging.plan_merge(scene, sides, await self._room(scene, sides))
                done = await self._trader.attempt(plan, memory)
                if isinstance(done, Answer):
                    return done
        raise too_contended()

    async def _room(self, scene: Scene, sides: merging.Sides) -> dict[str, merging.Room]:
        """What is left of each SKU of the source, for anyone and for the target's customer."""
        levels = await self._shard.stock_of(list(merging.skus_of(sides)))
        limited = [level for level in levels.values() if level.customer_limit is not None]
        customer = sides.target.customer
        if customer:
            units = await self._shard.customer_units([(level.sku, customer) for level in limited])
        else:
            lines = [sides.target.line(level.sku) for level in limited]
            units = [line.quantity if line is not None and scene.is_held(line) else 0 for line in lines]
        has = {level.sku: count for level, count in zip(limited, units, strict=True)}
        return {
            level.sku: merging.Room(
                level.available, None if level.customer_limit is None else level.customer_limit - has[level.sku]
            )
            for level in levels.values()
        }

    # Checkout and orders

    async def check_out(
        self, catalogue: Catalogue, token: str, request: checkout.CheckoutRequest
    ) -> Answer[Order] | Refused:
        """An order of a cart, all of it or nothing. The order is the memory of its idempotency key."""
        has_looked = False
        async with self._trader.turn(token):
            for _ in range(MAX_ATTEMPTS):
                keys = self._shard.keys
                orders = [keys.order(each) for each in request.tokens]
                now_ms, (text, *earlier) = await self._shard.texts(keys.cart(token), *orders)
                if any(earlier):
                    return _replayed_checkout(request, earlier)
                if text is None:
                    return Refused(Refusal.UNKNOWN_CART)
                record = decode_cart(text)
                scene = Scene(catalogue, self._settings, now_ms)
                if record.status == "paying" and await self._lapsed(scene, record):
                    continue
                plan = unusable(record, request.customer_id) or checkout.plan_checkout(scene, token, record, request)
                done = plan if isinstance(plan, Refused) else await self._trader.attempt(plan, None)
                is_spent = isinstance(done, Refused) and done.refusal is Refusal.COUPON_LIMIT_REACHED
                if is_spent and (await self.lapse_due(catalogue) or not has_looked):
                    has_looked = True  # once more in any case: what was due may have been ended by others meanwhile
                    continue
                if done is not None:
                    return done
        raise too_contended()

    async def show_order(self, catalogue: Catalogue, token: str) -> Order | Refused:
        """An order, from PostgreSQL once Redis let go of it."""
        known, _, now_ms = await self._order(token, None)
        if known is None:
            return Refused(Refusal.UNKNOWN_ORDER)
        if known.version and known.order.record.is_waiting and known.order.record.payment.until_ms <= now_ms:
            await self.lapse(catalogue, token)
            known, _, _ = await self._order(token, None)
        return known.order if known is not None else Refused(Refusal.UNKNOWN_ORDER)

    async def pay(
        self,
        catalogue: Catalogue,
        token: str,
        status: PaymentStatus,
        transaction_id: str,
        keyed: Keyed | None = None,
    ) -> Answer[Order] | Refused:
        """News of an order's payment; what is no news changes nothing and answers the order as it is."""
        if status is PaymentStatus.SUCCEEDED:
            known, _, _ = await self._order(token, None)
            if known is not None and known.order.record.wants_coupon:
                await self.lapse_due(catalogue)  # orders whose time is over may have it

        def judge(scene: Scene, known: KnownOrder, cart: CartRecord | None) -> Plan[Order] | None:
            return payments.plan_payment(scene, known, cart, status, transaction_id)

        return await self._change_order(catalogue, token, judge, keyed)

    async def move_order(
        self, catalogue: Catalogue, token: str, to: OrderStatus, tracking_number: str, keyed: Keyed | None = None
    ) -> Answer[Order] | Refused:
        """The next step of an order's life."""

        def judge(scene: Scene, known: KnownOrder, cart: CartRecord | None) -> Plan[Order] | Refused:
            return payments.plan_transition(scene, known, cart, to, tracking_number)

        return await self._change_order(catalogue, token, judge, keyed)

    async def lapse(self, catalogue: Catalogue, token: str) -> bool:
        """Cancel an order whose payment window is over; False where there is nothing to cancel."""
        before, _, _ = await self._order(token, None)
        if before is None or not before.order.record.is_waiting:
            # Nobody knows the order any more, or it waits no more: its window must not stand before those of others.
            await self._shard.trade(Trade(window=(token, payments.NO_WINDOW)))
            return False
        answer = await self._change_order(catalogue, token, payments.plan_lapse, None)
        return isinstance(answer, Answer) and answer.value.record.version > before.order.record.version

    async def lapse_due(self, catalogue: Catalogue, limit: int = LAPSE_AT_ONCE) -> int:
        """Cancel at most `limit` orders whose payment window is over; returns how many.

        One that cannot be is told of in the log, and tried again later: it must not stand before those of others.
        """
        lapsed = 0
        for token in await self._shard.payments_due(limit):
            try:
                lapsed += await self.lapse(catalogue, token)
            except Unavailable:
                raise
            except Exception:
                log.exception("the order %s%s cannot be canceled, though its payment window is over", ID_PREFIX, token)
                now_ms, _ = await self._shard.texts()
                await self._shard.trade(Trade(window=(token, now_ms + LAPSE_AGAIN_MS)))
        return lapsed

    async def _change_order(
        self,
        catalogue: Catalogue,
        token: str,
        judge: Callable[[Scene, KnownOrder, CartRecord | None], Plan[Order] | Refused | None],
        keyed: Keyed | None,
    ) -> Answer[Order] | Refused:
        memory = memory_of(keyed, _decode_order_answer)
        async with self._trader.turn(token):
            for _ in range(MAX_ATTEMPTS):
                known, replayed, now_ms = await self._order(token, memory)
                if replayed is not None:
                    return replayed
                if known is None:
                    return Refused(Refusal.UNKNOWN_ORDER)
                cart, _, _ = await self._cart(known.order.record.cart_token, None)
                plan = judge(Scene(catalogue, self._settings, now_ms), known, cart)
                if plan is None:
                    return await self._trader.as_it_is(known.order, memory)
                done = plan if isinstance(plan, Refused) else await self._trader.attempt(plan, memory)
                if done is not None:
                    return done
        raise too_contended()

    # Reading and trading

    async def _cart(
        self, token: str, memory: Memory[Cart] | None
    ) -> tuple[CartRecord | None, Answer[Cart] | Refused | None, int]:
        keys = self._shard.keys
        wanted = (keys.cart(token),) if memory is None else (keys.cart(token), keys.memory(memory.keyed.token))
        now_ms, texts = await self._shard.texts(*wanted)
        record = None if texts[0] is None else decode_cart(texts[0])
        return record, None if memory is None else replay(memory, texts[1]), now_ms

    async def _order(
        self, token: str, memory: Memory[Order] | None
    ) -> tuple[KnownOrder | None, Answer[Order] | Refused | None, int]:
        keys = self._shard.keys
        wanted = (keys.order(token),) if memory is None else (keys.order(token), keys.memory(memory.keyed.token))
        now_ms, texts = await self._shard.texts(*wanted)
        replayed = None if memory is None else replay(memory, texts[1])
        if texts[0] is not None:
            record = decode_order(texts[0])
            return KnownOrder(Order(token, record), record.version), replayed, now_ms
        stored = await self._stored_order(token)
        return None if stored is None else KnownOrder(Order(token, stored), 0), replayed, now_ms

    async def _lapsed(self, scene: Scene, record: CartRecord) -> bool:
        """Whether a cart that was being paid has changed since: its payment settled, or its window is over."""
        known, _, now_ms = await self._order(record.order, None)
        if known is None or (known.order.record.is_waiting and now_ms < known.order.record.payment.until_ms):
            return False
        await self.lapse(scene.catalogue, record.order)
        return True


def _replayed_checkout(request: checkout.CheckoutRequest, earlier: Sequence[str | None]) -> Answer[Order] | Refused:
    """The order that the key had been answered with; `earlier` are those under the request's tokens."""
    token, text = next((token, text) for token, text in zip(request.tokens, earlier, strict=True) if text is not None)
    record = decode_order(text)
    if record.fingerprint != request.fingerprint:
        return Refused(Refusal.KEY_REUSED)
    return Answer(Order(token, record.as_first_answered()), replayed=True)
