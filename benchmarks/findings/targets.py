"""The targets: each a ratio from one run on two cores with one API process, unless it says otherwise."""

from __future__ import annotations

from benchmarks.findings.figures import TIMES, Figure, Target

TARGETS = {
    "hot": Target("holds on one hot SKU, over `noop`", TIMES, 0.50, 0.70),
    "sold_out": Target("refusals when sold out, over `noop`", TIMES, 0.85, 0.95),
    "hot_row_lock": Target("holds on one hot SKU, over `row_lock`", TIMES, 20, 40),
    "hot_unit_rows": Target("holds on one hot SKU, over `unit_rows`", TIMES, 12, 20),
    "zipf": Target("holds on 10,000 SKUs, over `row_lock`", TIMES, 8, 12),
    "commit": Target("hold + commit pairs, over `noop` pairs", TIMES, 0.40, 0.60),
    "cart": Target("cart add + checkout pairs, over `noop` pairs", TIMES, 0.25, 0.40),
    "batch": Target("batch endpoint (100 holds a call), holds over `noop` requests", TIMES, 2, 4),
    "engine": Target("engine called in process, over `script_rate`", TIMES, 1.5, 2.5),
    "flush": Target("events drained over events accepted, both running", TIMES, 2, 4),
    "lag": Target("flush lag while holds run at 70 % of maximum, p99", "s", 1.0, 0.3, is_ceiling=True),
    "latency": Target(
        "hold latency p99 at 50 % of maximum, over p99 of `noop` at the same rate", TIMES, 3, 1.5, is_ceiling=True
    ),
    "populated": Target("throughput with many holds and 100,000 SKUs, over an empty system", TIMES, 0.85, 0.95),
    "memory": Target("Redis bytes a live hold (`used_memory`)", "B", 350, 220, is_ceiling=True),
    "growth": Target(
        "Redis memory after holds were made, expired and flushed, over before", TIMES, 1.10, 1.02, is_ceiling=True
    ),
    "growth_processes": Target("process memory after the same, over before", TIMES, 1.10, 1.02, is_ceiling=True),
    "rebuild": Target(
        "rebuild of 100,000 SKUs and 100,000 holds, over reading those rows and piping bare HSETs",
        TIMES,
        2.5,
        1.5,
        is_ceiling=True,
    ),
    "start": Target("start of `up` on existing data, to ready", "s", 5.0, 3.0, is_ceiling=True),
}


def target_of(figure: Figure) -> Target | None:
    """What a figure is held against."""
    return None if figure.target is None else TARGETS[figure.target]


def is_met(figure: Figure) -> bool:
    """Whether a figure's median is on the right side of its target; without one it is."""
    target = target_of(figure)
    return target is None or reaches(figure.spread.value, target.least, is_ceiling=target.is_ceiling)


def reaches(value: float, bound: float, *, is_ceiling: bool) -> bool:
    return value <= bound if is_ceiling else value >= bound
