"""`docs/mutations.md` names guards and the tests that miss them: files and tests that are there."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_row_names_a_file_and_a_test_that_are_there() -> None:
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split(" | ")]
        for line in (ROOT / "docs" / "mutations.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) > 300
    missing = [row for row in rows if not (ROOT / row[0]).is_file() or not _is_there(row[-1])]
    assert missing == []


def _is_there(test: str) -> bool:
    """Whether a test that is named as `folder/file` and the words of its name is in that file; `equal` needs none."""
    if test.startswith("equal"):
        return True
    file, _, name = test.partition(":")
    path = ROOT / "tests" / f"{file.strip('`')}.py"
    if not path.is_file():
        return False
    return f"def test_{name.strip().replace(' ', '_')}(" in path.read_text(encoding="utf-8")
