"""Where the system under load is: given, or told by the running `holdfast up`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.storefront import ReplayError


def runtime_of(data_dir: Path) -> dict[str, str]:
    """What a running `up` says of itself; empty where none runs."""
    try:
        found = json.loads((data_dir / "runtime.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: found[name] for name in ("api_url", "database_url") if isinstance(found.get(name), str)}


def required(value: str | None, option: str) -> str:
    """The value. Raises ReplayError where there is none."""
    if not value:
        raise ReplayError(f"{option} is not given, and no running `holdfast up` was found to ask for it")
    return value
