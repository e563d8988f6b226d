"""Tallies: requests and outcomes, counted without locks and told to Prometheus when it asks.

A request is counted by adding to plain numbers; the client library's own counters cost several times as much.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally:
    """How many of a kind were of which size (how many requests took how long), and their sum."""

    __slots__ = ("_bounds", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, size: float) -> None:
        """One more, of this size."""
        self.buckets[bisect_left(self._bounds, size)] += 1
        self.sum += size

    def cumulated(self) -> list[tuple[str, float]]:
        """How many were no greater than each bound, as Prometheus names it."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self.buckets), strict=True))


class RequestTallies(Collector):
    """Every request that was answered, by route, method and status. Only the event loop's thread may count."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._tallies: dict[tuple[str, str, int], Tally] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        tally = self._tallies.get((route, method, status))
        if tally is None:
            tally = self._tallies[route, method, status] = Tally(self._bounds_s)
        tally.add(seconds)

    def collect(self) -> Iterable[Metric]:
        """The counter by status, and the histogram over all of them."""
        requests = CounterMetricFamily(
            "holdfast_http_requests", "Requests by route", labels=("route", "method", "status")
        )
        durations = HistogramMetricFamily(
            "holdfast_http_request_duration_seconds",
            "Time from a request's head to the end of its answer",
            labels=("route", "method"),
        )
        sums: dict[tuple[str, str], Tally] = {}
        for (route, method, status), tally in self._tallies.items():
            requests.add_metric((route, method, str(status)), sum(tally.buckets))
            together = sums.setdefault((route, method), Tally(self._bounds_s))
            together.buckets = [a + b for a, b in zip(together.buckets, tally.buckets, strict=True)]
            together.sum += tally.sum
        for labels, tally in sums.items():
            durations.add_metric(labels, tally.cumulated(), tally.sum)
        yield requests
        yield durations


class SizeTallies(Collector):
    """A histogram of what each verb's script calls amounted to. Only the event loop's thread may count."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text = name, text
        self._bounds = tuple(bounds)
        self._tallies: dict[str, Tally] = {}

    def count(self, verb: str, size: float) -> None:
        tally = self._tallies.get(verb)
        if tally is None:
            tally = self._tallies[verb] = Tally(self._bounds)
        tally.add(size)

    def collect(self) -> Iterable[Metric]:
        """The histogram, by verb."""
        found = HistogramMetricFamily(self._name, self._text, labels=("verb",))
        for verb, tally in self._tallies.items():
            found.add_metric((verb,), tally.cumulated(), tally.sum)
        yield found


class OutcomeTallies(Collector):
    """How acts ended, by act and outcome. Only the event loop's thread may count."""

    def __init__(self, name: str, text: str, act: str) -> None:
        self._name, self._text, self._act = name, text, act
        self._tallies: Counter[tuple[str, str]] = Counter()

    def count(self, act: str, outcome: str, times: int = 1) -> None:
        self._tallies[act, outcome] += times

    def collect(self) -> Iterable[Metric]:
        """The counter of all of them."""
        found = CounterMetricFamily(self._name, self._text, labels=(self._act, "outcome"))
        for labels, times in self._tallies.items():
            found.add_metric(labels, times)
        yield found
