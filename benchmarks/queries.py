"""Named queries: the parts of a .sql file, each after a line `-- name: …`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def read_queries(path: Path) -> dict[str, str]:
    """The queries of a file, by name."""
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
