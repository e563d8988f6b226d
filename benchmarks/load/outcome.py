"""What a load client found."""

from __future__ import annotations

from msgspec import Struct, field

from benchmarks.load.histogram import Histogram


class Outcome(Struct, kw_only=True):
    """`granted` counts answers by step; `refused` are all other answers, `faults` requests without one.

    The bundled client tells `latency` by step, `statuses` of the refused, `ids`, and `times_s`: the first and the last
    granted answer of each step, from the start. wrk tells only `percentiles_ms`, of all requests together. `busy` is
    the share of its time that the client worked: near 1 it was the client that set the pace.
    """

    client: str
    seconds: float
    granted: list[int]
    refused: int = 0
    faults: int = 0
    busy: float = 0.0
    percentiles_ms: dict[float, float] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    latency: list[Histogram] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    times_s: list[tuple[float, float]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return sum(self.granted) + self.refused

    @property
    def done(self) -> int:
        """Chains that came to their end."""
        return self.granted[-1]

    def percentile_ms(self, percent: float) -> float:
        """Of all requests together, as far as the client told."""
        if not self.latency:
            return self.percentiles_ms.get(percent, 0.0)
        merged = Histogram()
        for found in self.latency:
            merged.merge(found)
        return merged.percentile_ms(percent)
