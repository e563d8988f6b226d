"""Faults of disks: a small one of the run's own runs full, and is freed. Needs the right to mount a tmpfs."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from tests.faults.stage import Stage

SIZES_MB = {"redis": 256, "postgres": 512}
FULL_S = 3.0
PART_BYTES = 1024 * 1024


def mount(directory: Path, size_mb: int) -> bool:
    """Whether a small disk could be mounted there."""
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "holdfast-faults", str(directory)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", str(directory)], capture_output=True, check=False)  # noqa: S607 - the system's own


def fill(name: str) -> Callable[[Stage], Awaitable[None]]:
    """The fault of a full disk under one server."""

    async def inject(stage: Stage) -> None:
        ballast = stage.system.data_dir / name / "ballast"
        try:
            _fill(ballast)
            await asyncio.sleep(FULL_S)
        finally:
            ballast.unlink()

    return inject


def _fill(ballast: Path) -> None:
    """Write until nothing more goes in, not even a byte."""
    with ballast.open("wb", buffering=0) as file:
        for part in (bytes(PART_BYTES), bytes(4_096), b"\0"):
            with suppress(OSError):
                while file.write(part) == len(part):
                    pass
