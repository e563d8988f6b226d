"""Python reads this at its start. The scripts and the engine's readers add a step to Redis' clock wherever they ask it.

The scripts find it in the shard's record (`clock_step_s`), the readers in the file `clock-step` of the data directory.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

TIME_CALL = "redis.call('TIME')"
STEPPED_CALL = (
    "(function() local t = redis.call('TIME') "
    "return { t[1] + (redis.call('HGET', META, 'clock_step_s') or 0), t[2] } end)()"
)
STEP_FILE = Path(os.environ.get("HOLDFAST_DATA_DIR", ".")) / "clock-step"


def step_ms() -> int:
    try:
        return int(STEP_FILE.read_text() or "0") * 1000
    except (OSError, ValueError):
        return 0


def patch_scripts(module: ModuleType) -> None:
    original = module.Script.replace_text

    def replace_text(self: Any, text: str) -> None:
        if text.count(TIME_CALL) != 1:
            raise RuntimeError("a script asks the clock elsewhere than in its prelude")
        original(self, text.replace(TIME_CALL, STEPPED_CALL))

    module.Script.replace_text = replace_text


def patch_reader(module: ModuleType) -> None:
    original = module.clock_ms
    module.clock_ms = lambda clock: original(clock) + step_ms()  # type: ignore[attr-defined]


def patch_restorer(module: ModuleType) -> None:
    original = module.Restorer.now_ms

    async def now_ms(self: Any) -> int:
        return int(await original(self)) + step_ms()

    module.Restorer.now_ms = now_ms


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "engine.scripts": patch_scripts,
    "engine.reader": patch_reader,
    "engine.restore": patch_restorer,
}


class Loader(importlib.abc.Loader):
    """Loads a module as ever, then patches it."""

    def __init__(self, loader: importlib.abc.Loader, patch: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._patch = patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds what is to be patched."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        patch = PATCHES.get(fullname)
        spec = None if patch is None else importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if patch is not None and spec is not None and spec.loader is not None:
            spec.loader = Loader(spec.loader, patch)
        return spec


if "tests.faults" not in __name__:
    sys.meta_path.insert(0, Finder())
