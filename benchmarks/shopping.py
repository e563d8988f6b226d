"""The replay through carts: each basket is put into a cart line by line, at the prices of its rows, and checked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.baskets import Invoice
from benchmarks.carts import Cart, CartLine
from benchmarks.order_books import Placed
from benchmarks.orders import Order
from benchmarks.storefront import ReplayError, Reply, Storefront
from benchmarks.traffic import Replayer


class Shopper(Replayer):
    """Replays sales through carts and checkout. A customer has one live cart: its invoices come one after the other."""

    def __init__(
        self, storefront: Storefront, run: str, carts: Mapping[str, Sequence[Cart]], promo_codes: Mapping[int, str]
    ) -> None:
        super().__init__(storefront, run)
        self.traffic.times_s = {"cart opening": [], "addition": [], "checkout": [], "adjustment": []}
        self._carts = carts
        self._promo_codes = promo_codes

    def turn_of(self, invoice: Invoice) -> str | None:
        return invoice.customer_id

    async def _sell(self, invoice: Invoice) -> None:
        """Buy every cart of the invoice; the first refusal ends it."""
        self.traffic.baskets += 1
        # A customer of this run alone, since another one's live cart may have something in it.
        customer = None if invoice.customer_id is None else f"{self.run}-{invoice.customer_id}"
        for i, cart in enumerate(self._carts[invoice.number]):
            if not await self._buy(invoice.number, customer, cart, f"{self.run}:{invoice.number}:{i}"):
                self.traffic.refused_baskets.append(invoice.number)
                return

    async def _buy(self, invoice: str, customer: str | None, cart: Cart, key: str) -> bool:
        opened = await self._ask("cart opening", "/carts", {"customer_id": customer}, f"{key}:cart")
        if opened is None:
            return False
        cart_id = str(opened.body["id"])
        self.traffic.carts[cart_id] = invoice
        if opened.body.get("items"):
            self.traffic.refusals["cart opening: not empty"] += 1
            return False
        path = f"/carts/{cart_id}"
        for i, line in enumerate(cart):
            body = {"sku": line.sku, "quantity": line.units, "promo_code": self._promo_codes[line.price]}
            if await self._ask("addition", f"{path}/items", body, f"{key}:item:{i}") is None:
                await self._give_back(path, cart[:i])
                return False
        ordered = await self._ask("checkout", f"{path}/checkout", {"payment": "captured"}, f"{key}:checkout")
        if ordered is None:
            await self._give_back(path, cart)
            return False
        self.traffic.placed.append(Placed(invoice, _order(ordered)))
        self.traffic.units["sold"] += sum(line.units for line in cart)
        return True

    async def _give_back(self, path: str, lines: Sequence[CartLine]) -> None:
        for line in lines:
            await self._storefront.change("DELETE", f"{path}/items/{line.sku}", None, None)

    async def _ask(self, what: str, path: str, body: dict[str, Any], key: str) -> Reply | None:
        """The answer; None when it is a refusal, which is counted."""
        reply = await self._storefront.change("POST", path, body, key)
        self.traffic.times_s[what].append(reply.elapsed_s)
        return reply if self._count(what, reply) else None


def _order(reply: Reply) -> Order:
    try:
        return msgspec.convert(reply.body, Order)
    except msgspec.ValidationError as error:
        raise ReplayError(f"the API answers a checkout with what is no order: {error}") from None
