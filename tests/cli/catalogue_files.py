"""Catalogue files for examples."""

from __future__ import annotations

from pathlib import Path

HEADER = "sku,name,price,quantity"


def written(folder: Path, text: str | bytes, name: str = "catalogue.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
