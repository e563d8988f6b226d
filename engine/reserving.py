"""Reserves on their way to lua/reserve.lua: what many of a batch have in common is told once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from engine.holds import Line, Reserve
from engine.keys import Keys


def pack_reserves(keys: Keys, requests: Sequence[Reserve]) -> tuple[list[str], tuple[Any, ...]]:
    """The keys of a batch, and its operations as the header of the script says."""
    prefix = keys.hold_prefix
    kinds: dict[tuple[Line, ...], int] = {}
    groups: dict[str | None, int] = {None: 0}
    runs: list[tuple[Any, ...]] = []
    alike: tuple[Any, ...] = ()
    operations: list[Any] = []
    tokens: list[str] = []
    for request in requests:
        group, lines, also = request.group, request.lines, request.also
        mark = "" if group is None else request.fingerprint
        so = (len(also), request.ttl_ms, request.swept, group, mark)
        if so != alike:
            alike, operations = so, []
            memory = groups.setdefault(group, len(groups))
            runs.append((len(also), request.ttl_ms, int(request.swept), memory, mark, operations))
        kind = kinds.get(lines)
        if kind is None:
            kind = kinds[lines] = len(kinds) + 1
        own = request.fingerprint if group is None else request.position
        operations += (_text(request.customer_id or ""), kind, own)
        tokens.append(request.token)
        tokens += also
    names = [prefix + token for token in tokens]
    memories = [keys.memory(group) for group in groups if group is not None]
    base, last = len(keys.prelude) + 1, len(keys.prelude) + len(names)
    return [*keys.prelude, *names, *memories], (len(requests), base, last, [_told(lines) for lines in kinds], runs)


def _told(lines: tuple[Line, ...]) -> list[Any]:
    told: list[Any] = [f"[{','.join(map(_pair, lines))}]"]
    for line in lines:
        told += (line.sku, line.quantity)
    return told


@lru_cache(maxsize=4_096)
def _pair(line: Line) -> str:
    """Cached, since it costs more than the rest of an operation, and what sells well is asked for again and again."""
    return _text((line.sku, line.quantity))


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
