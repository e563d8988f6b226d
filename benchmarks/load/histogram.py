"""A histogram of latencies in the manner of HdrHistogram: whole microseconds, each within 1 % of what it was.

Values share a bucket with those that have the same first eight bits, so that a second takes no more room than a
millisecond, and histograms of several turns add up. See Gil Tene, http://hdrhistogram.org.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

HALF = 128
"""Buckets for each doubling: the widest one is 1/128 of its values."""
_BITS = HALF.bit_length()


class Histogram(Struct):
    """Counts by bucket."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, value_us: int, times: int = 1) -> None:
        bucket = bucket_of(value_us)
        self.counts[bucket] = self.counts.get(bucket, 0) + times

    def add_seconds(self, values_s: Iterable[float]) -> None:
        for value in values_s:
            self.add(round(value * 1_000_000))

    def merge(self, other: Histogram) -> None:
        for bucket, times in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + times

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def percentile_ms(self, percent: float) -> float:
        """The latency that `percent` of all stay within, at most 1 % too long; 0 of none."""
        needed = self.total * percent / 100
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= needed:
                return highest_of(bucket) / 1000
        return 0.0


def bucket_of(value_us: int) -> int:
    """The bucket of a value; a negative one counts as 0."""
    value = max(value_us, 0)
    shift = max(value.bit_length() - _BITS, 0)
    return HALF * shift + (value >> shift)


def highest_of(bucket: int) -> int:
    """The longest latency that falls into a bucket, in microseconds."""
    shift = max(bucket // HALF - 1, 0)
    return ((bucket - HALF * shift + 1) << shift) - 1
