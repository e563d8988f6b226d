"""Names of every Redis key of a shard; all of them carry the shard's hash tag, so that a script stays in one slot."""

from __future__ import annotations


class Keys:
    """The keys of one shard. `prelude` is the order in which lua/prelude.lua expects the shared ones."""

    def __init__(self, shard: int = 0) -> None:
        self.shard = shard
        self.tag = f"{{s{shard}}}:"
        self.meta = f"{self.tag}meta"
        self.stock = f"{self.tag}stock"
        self.deadlines = f"{self.tag}deadlines"
        self.customers = f"{self.tag}customers"
        self.events = f"{self.tag}events"
        self.skus = f"{self.tag}skus"
        self.orphans = f"{self.tag}orphans"
        self.coupons = f"{self.tag}coupons"
        self.flush_lease = f"{self.tag}flush-lease"
        self.payments = f"{self.tag}payments"
        self.hold_prefix = f"{self.tag}hold:"
        self.memory_prefix = f"{self.tag}memory:"
        self.record_prefixes = {
            "cart": f"{self.tag}cart:",
            "order": f"{self.tag}order:",
            "customer": f"{self.tag}cart-of:",
        }
        """Of the records that a trade changes, by their kinds."""
        self.prelude = (
            self.meta,
            self.stock,
            self.deadlines,
            self.customers,
            self.events,
            self.skus,
            self.orphans,
            self.coupons,
            self.payments,
        )

    def hold(self, token: str) -> str:
        """The record of the hold whose id is `hold_<token>`."""
        return self.hold_prefix + token

    def memory(self, token: str) -> str:
        """What is remembered of the keyed operation with this token."""
        return self.memory_prefix + token

    def limit(self, token: str) -> str:
        """What the key or the customer with this token was charged by its rate limit."""
        return f"{self.tag}limit:{token}"

    def cart(self, token: str) -> str:
        """The record of the cart whose id is `cart_<token>`."""
        return self.record_prefixes["cart"] + token

    def cart_of(self, customer_token: str) -> str:
        """The token of the live cart of a customer."""
        return self.record_prefixes["customer"] + customer_token

    def order(self, token: str) -> str:
        """The record of the order whose id is `ord_<token>`."""
        return self.record_prefixes["order"] + token
