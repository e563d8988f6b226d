"""What a batch of commits, releases, extends or expiries tells its script."""

from __future__ import annotations

from engine.idempotency import Keyed
from engine.keys import Keys
from engine.settling import Settling, committing, pack_settling

KEYS = Keys()
BASE = len(KEYS.prelude) + 1


def test_holds_come_first_and_then_the_memories_of_the_keyed() -> None:
    batch = [committing("a", None, ""), committing("b", Keyed("pay", "f1"), 'till "7"'), committing("c", None, "x")]
    keys, operations = pack_settling(KEYS, batch)
    assert keys == [*KEYS.prelude, *[KEYS.hold(token) for token in "abc"], KEYS.memory("pay")]
    assert operations == (BASE, 2, ["", '""', "f1", '"till \\"7\\""', "", '"x"'])


def test_operations_are_told_apart_by_their_width() -> None:
    assert pack_settling(KEYS, [Settling("a"), Settling("b")])[1] == (BASE, 1, ["", ""])
    extends = [Settling("a", Keyed("longer", "f"), (5, 9)), Settling("b", None, (6, 9))]
    assert pack_settling(KEYS, extends)[1] == (BASE, 3, ["f", 5, 9, "", 6, 9])
