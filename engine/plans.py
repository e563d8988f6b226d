"""Plans: what an act on carts and orders comes to, judged before anything is written."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

from engine.trade import Trade

T = TypeVar("T")


class Plan(Struct, Generic[T], frozen=True, gc=False):
    """A trade, and what is answered when it happened; where it is refused, `otherwise` is tried in its place."""

    trade: Trade
    answer: T
    otherwise: Plan[T] | None = None


class Answer(Struct, Generic[T], frozen=True, gc=False):
    """What an act answers; `replayed` when its idempotency key had been answered before."""

    value: T
    replayed: bool = False
