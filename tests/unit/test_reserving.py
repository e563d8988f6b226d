"""What a batch of reserves tells lua/reserve.lua: all of it, and what its operations share only once."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from engine.holds import Line, Reserve
from engine.keys import Keys
from engine.reserving import pack_reserves

KEYS = Keys()
PRELUDE = len(KEYS.prelude)
ONE = Reserve("t1", "f1", "ada", 60_000, (Line("A", 1),), ("u1",))


def packed(requests: list[Reserve]) -> tuple[list[str], list[Any]]:
    """The keys after the shared ones, and the operations."""
    keys, operations = pack_reserves(KEYS, requests)
    assert tuple(keys[:PRELUDE]) == KEYS.prelude
    return keys[PRELUDE:], list(operations)


def test_operations_that_are_alike_are_one_run_with_what_is_their_own() -> None:
    keys, operations = packed([ONE, Reserve("t2", "f2", None, 60_000, (Line("B", 2), Line("C", 3)), ("u2",))])
    assert keys == [KEYS.hold(token) for token in ("t1", "u1", "t2", "u2")]
    lines = [['[["A",1]]', "A", 1], ['[["B",2],["C",3]]', "B", 2, "C", 3]]
    run = (1, 60_000, 0, 0, "", ['"ada"', 1, "f1", '""', 2, "f2"])
    assert operations == [2, PRELUDE + 1, PRELUDE + 4, lines, [run]]


def test_a_group_tells_its_memory_and_its_fingerprint_once() -> None:
    group = [Reserve(f"t{i}", "f", None, 60_000, (Line("A", 1),), (), "g", i) for i in (1, 2)]
    other = [Reserve(f"t{i}", "f", None, 60_000, (Line("A", 1),), (), "h", i) for i in (3,)]
    keys, (_, _, last_name, lines, runs) = packed([*group, ONE, *other, replace(group[0], swept=True)])
    assert keys[last_name - PRELUDE :] == [KEYS.memory("g"), KEYS.memory("h")]
    assert len(lines) == 1
    assert runs == [
        (0, 60_000, 0, 1, "f", ['""', 1, 1, '""', 1, 2]),
        (1, 60_000, 0, 0, "", ['"ada"', 1, "f1"]),
        (0, 60_000, 0, 2, "f", ['""', 1, 3]),
        (0, 60_000, 1, 1, "f", ['""', 1, 1]),
    ]


@pytest.mark.parametrize(
    "change", [{"ttl_ms": 1}, {"also": ()}, {"swept": True}, {"group": "g"}], ids=lambda change: next(iter(change))
)
def test_what_differs_begins_a_new_run(change: dict[str, Any]) -> None:
    _, operations = packed([ONE, replace(ONE, **change)])
    assert len(operations[4]) == 2


def test_two_calls_under_one_key_with_different_payloads_are_two_runs() -> None:
    grouped = replace(ONE, group="g")
    _, operations = packed([grouped, replace(grouped, fingerprint="f2")])
    assert [run[3:5] for run in operations[4]] == [(1, "f1"), (1, "f2")]
