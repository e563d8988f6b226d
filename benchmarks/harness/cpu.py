"""CPU time and memory of the processes of a system, by what they are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from benchmarks.harness.children import family

Roles = Mapping[str, Sequence[int]]
"""Pids by what they are for: api, redis, postgres, worker."""


def cpu_seconds(roles: Roles) -> dict[str, float]:
    """The CPU time that each role has used so far, its descendants and those of them that ended included."""
    return {role: sum(_tree_seconds(pid) for pid in pids) for role, pids in roles.items()}


def resident_bytes(roles: Roles) -> dict[str, int]:
    """The memory of each role that no other process shares, in bytes."""
    return {role: sum(_tree_bytes(pid) for pid in pids) for role, pids in roles.items()}


def used_between(before: Mapping[str, float], after: Mapping[str, float], units: int) -> dict[str, float]:
    """Microseconds a unit of work."""
    return {role: round((after[role] - before[role]) * 1_000_000 / max(units, 1), 2) for role in before}


def _tree_seconds(pid: int) -> float:
    total = 0.0
    for process in family(pid):
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])  # user and system, its own and those of children that ended
    return total


def _tree_bytes(pid: int) -> int:
    total = 0
    for process in family(pid):
        with suppress(psutil.Error):
            total += process.memory_full_info().uss
    return total
