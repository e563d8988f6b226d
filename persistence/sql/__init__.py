"""Named queries: each `.sql` file is one noun, each `-- name: verb_what` starts a query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def rows_of(done: str) -> int:
    """How many rows a statement changed, from what `execute` answers."""
    return int(done.rpartition(" ")[2])


@cache
def queries(noun: str) -> dict[str, str]:
    """The queries of `<noun>.sql` by name. The line after a name says what the query is for."""
    text = (Path(__file__).parent / f"{noun}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{noun}.sql names a query twice")
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}


def columns(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    """Rows, of which there is at least one, as the arrays that `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)]
