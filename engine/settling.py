"""What becomes of holds that were made, on its way to lua/commit.lua, release.lua and extend.lua."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.idempotency import Keyed
from engine.keys import Keys

SETTLING_VERBS = frozenset({"commit", "release", "extend"})


class Settling(msgspec.Struct, frozen=True, gc=False):
    """An operation on a hold that was made; operations of one verb have the same number of arguments."""

    token: str
    keyed: Keyed | None = None
    arguments: tuple[Any, ...] = ()


def committing(token: str, keyed: Keyed | None, reference: str) -> Settling:
    """A commit; its reference goes as JSON, as the event has it."""
    return Settling(token, keyed, (msgspec.json.encode(reference).decode(),))


def pack_settling(keys: Keys, operations: Sequence[Settling]) -> tuple[list[str], tuple[Any, ...]]:
    """The keys of a batch, and its operations as lua/holds.lua says."""
    hold, memory = keys.hold_prefix, keys.memory_prefix
    holds: list[str] = []
    memories: list[str] = []
    values: list[Any] = []
    for operation in operations:
        holds.append(hold + operation.token)
        keyed = operation.keyed
        if keyed is None:
            values.append("")
        else:
            values.append(keyed.fingerprint)
            memories.append(memory + keyed.token)
        values += operation.arguments
    width = 1 + len(operations[0].arguments)
    return [*keys.prelude, *holds, *memories], (len(keys.prelude) + 1, width, values)
