"""Prometheus metrics of one API process, in a registry of their own; every label has a bounded set of values."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest

from api.process.tallies import OutcomeTallies, RequestTallies, SizeTallies

CONTENT_TYPE = "text/plain; version=0.0.4"  # Litestar adds the charset
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
COMPONENTS = ("redis", "postgresql", "fence", "backlog")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WIRE_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What the operators see of this process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        ProcessCollector(registry=registry)
        self._requests = RequestTallies(_SECONDS)
        self._holds = OutcomeTallies("holdfast_holds", "Operations on holds by outcome", "verb")
        self._carts = OutcomeTallies("holdfast_carts", "Changes of carts by outcome", "act")
        self._orders = OutcomeTallies("holdfast_orders", "Acts on orders by outcome", "act")
        self._batch_size = SizeTallies("holdfast_batch_size", "Operations in one script call", _SIZES)
        self._round_trip = SizeTallies(
            "holdfast_redis_round_trip_seconds", "One script call, there and back", _WIRE_SECONDS
        )
        for tallies in (
            self._requests, self._holds, self._carts, self._orders, self._batch_size, self._round_trip,
        ):  # fmt: skip
            registry.register(tallies)
        self.lag_events = Gauge("holdfast_flush_lag_events", "Events not yet applied in PostgreSQL", registry=registry)
        self.lag_seconds = Gauge("holdfast_flush_lag_seconds", "Age of the oldest of them", registry=registry)
        self.high_water = Gauge(
            "holdfast_high_water_events", "Flush lag at which reserves are refused", registry=registry
        )
        self.backlog = Gauge("holdfast_backlog_operations", "Operations waiting for a script call", registry=registry)
        self.connections = Gauge("holdfast_connections", "Open connections of clients", registry=registry)
        self._connection_ends = Counter(
            "holdfast_connection_ends", "Connections that this side ended, by reason", ("reason",), registry=registry
        )
        self.fence_closings = Counter("holdfast_fence_closings", "Times that Redis lost our trust", registry=registry)
        self.verifications = Counter(
            "holdfast_verifications", "Comparisons of Redis with PostgreSQL by verdict", ("verdict",), registry=registry
        )
        self.books_differences = Gauge(
            "holdfast_books_differences", "Differences that the last audit listed", registry=registry
        )
        self.quarantined = Gauge(
            "holdfast_quarantined_events", "Events that the last audit found set aside", registry=registry
        )
        self.orphans_unproven = Gauge(
            "holdfast_orphans_unproven", "Lost holds that the last audit could not prove to be over", registry=registry
        )
        self.books_compared = Gauge(
            "holdfast_books_compared_timestamp_seconds", "When that audit was done, in s since 1970", registry=registry
        )
        for audited in (self.books_differences, self.quarantined, self.orphans_unproven, self.books_compared):
            audited.set(math.nan)  # until the first audit
        self.up = Gauge("holdfast_up", "1 when a component works, else 0", ("component",), registry=registry)
        for component in COMPONENTS:
            self.up.labels(component).set(0)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One answered request; `route` is its template."""
        self._requests.count(route, method if method in METHODS else "OTHER", status, seconds)

    def count_hold(self, verb: str, outcome: str, times: int = 1) -> None:
        """Operations on holds: how they ended, or the code of their refusal."""
        self._holds.count(verb, outcome, times)

    def count_cart(self, act: str, outcome: str) -> None:
        """One change of a cart: how it ended, or the code of its refusal."""
        self._carts.count(act, outcome)

    def count_order(self, act: str, outcome: str) -> None:
        """One act on an order, its making included: how it ended, or the code of its refusal."""
        self._orders.count(act, outcome)

    def count_connection_end(self, reason: str) -> None:
        """One connection that was ended because of what its client did or left undone."""
        self._connection_ends.labels(reason).inc()

    def observe_batch(self, verb: str, size: int, seconds: float) -> None:
        """One script call."""
        self._batch_size.count(verb, size)
        self._round_trip.count(verb, seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)
