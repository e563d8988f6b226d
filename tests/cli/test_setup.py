"""The Makefile and the locked requirements."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-build.lock", "requirements-runtime.lock"]
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)")


def pins(lock: str) -> dict[str, str]:
    found = (PINNED.match(line) for line in (ROOT / lock).read_text().splitlines())
    return {match[1]: match[2] for match in found if match}


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[\[<>=;! ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}
    return found - {"holdfast"}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_place_to_download_from(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert pins(lock)
    for line in lines:
        assert PINNED.match(line) or re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_everything_that_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = names(project["project"]["dependencies"])
    extras = {name for extra in project["project"]["optional-dependencies"].values() for name in names(extra)}
    assert runtime | extras <= set(pins("requirements.lock"))
    assert runtime <= set(pins("requirements-runtime.lock"))
    assert names(project["build-system"]["requires"]) <= set(pins("requirements-build.lock"))


def test_the_image_runs_the_versions_that_were_tested() -> None:
    tested = pins("requirements.lock")
    assert {name: tested.get(name) for name in pins("requirements-runtime.lock")} == pins("requirements-runtime.lock")


def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert all(re.search(rf"^  {target} +\S", listed, re.MULTILINE) for target in ("up", "test", "check", "bench"))
