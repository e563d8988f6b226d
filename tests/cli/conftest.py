from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory of the test's own, closed to other accounts as a private home would be."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-cli-")).resolve()
    yield path
    shutil.rmtree(path, ignore_errors=True)
