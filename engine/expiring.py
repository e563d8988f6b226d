"""Holds past their deadline on their way to lua/expire.lua: bundles, or an orphan with what PostgreSQL knows of it.

A bundle is a member of the deadlines: the tokens of holds that a batch lets live until the same ms, joined by commas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from engine.keys import Keys

MAX_BUNDLE = 100
"""Holds in a bundle; lua/prelude.lua has the same."""


class Expiry(msgspec.Struct, frozen=True, gc=False):
    """Holds that may be over: those of a bundle, or an orphan, which brings its customer ("": a guest) and lines."""

    tokens: tuple[str, ...]
    bundle: str = ""
    customer: str = ""
    lines: list[tuple[str, int]] | None = None


def bundles_of(deadlines: Mapping[str, int]) -> dict[str, int]:
    """The bundles of holds, and when each ends, from their tokens and when they end, in ms."""
    tokens: dict[int, list[str]] = {}
    for token, expires_ms in deadlines.items():
        tokens.setdefault(expires_ms, []).append(token)
    return {
        ",".join(together[start : start + MAX_BUNDLE]): expires_ms
        for expires_ms, together in tokens.items()
        for start in range(0, len(together), MAX_BUNDLE)
    }


def is_bundle(name: str) -> bool:
    """Whether this is a bundle of several holds, and no hold's token."""
    return "," in name


def tokens_in(bundle: str) -> tuple[str, ...]:
    """The tokens of a bundle's holds."""
    return tuple(bundle.split(","))


def of_bundles(bundles: Iterable[str], max_holds: int) -> Iterator[list[Expiry]]:
    """The holds of these bundles, each to be ended if its time is over, in parts of at most `max_holds`.

    A bundle of more is a part by itself.
    """
    part: list[Expiry] = []
    count = 0
    for bundle in bundles:
        tokens = tokens_in(bundle)
        if part and count + len(tokens) > max_holds:
            yield part
            part, count = [], 0
        part.append(Expiry(tokens, bundle))
        count += len(tokens)
    if part:
        yield part


def pack_expiries(keys: Keys, operations: Sequence[Expiry]) -> tuple[list[str], tuple[Any, ...]]:
    """The keys of a batch, and its operations as the header of the script says."""
    prefix = keys.hold_prefix
    names = [prefix + token for operation in operations for token in operation.tokens]
    values: list[Any] = []
    for operation in operations:
        values += (operation.bundle, len(operation.tokens), operation.customer, operation.lines)
    return [*keys.prelude, *names], (len(keys.prelude) + 1, values)
