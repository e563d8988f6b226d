"""The named queries: each has a name, a purpose and someone who uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from persistence import sql
from persistence.sql import queries

FOLDER = Path(sql.__file__).parent
ROOMS = FOLDER.parent.parent
NOUNS = sorted(path.stem for path in FOLDER.glob("*.sql"))
NAMED = [(noun, name) for noun in NOUNS for name in queries(noun)]


def sources() -> str:
    """Everything that may ask for a query by its name."""
    return "\n".join(
        path.read_text(encoding="utf-8")
        for room in ("persistence", "jobs")
        for path in sorted((ROOMS / room).rglob("*.py"))
    )


@pytest.mark.parametrize("noun", NOUNS)
def test_a_file_begins_with_a_name_and_every_name_in_it_is_found(noun: str) -> None:
    text = (FOLDER / f"{noun}.sql").read_text(encoding="utf-8")
    assert text.startswith("-- name: ")
    assert list(queries(noun)) == re.findall(r"-- name: *(\S+)", text)
    assert text.lower().count("-- name") == len(queries(noun))


@pytest.mark.parametrize(("noun", "name"), NAMED, ids=lambda part: part)
def test_a_query_has_a_purpose_in_one_line_and_is_one_statement(noun: str, name: str) -> None:
    first, *rest = queries(noun)[name].splitlines()
    assert re.fullmatch(r"-- \S.*\.", first)
    statement = "\n".join(rest)
    assert statement.count(";") == 1
    assert statement.endswith(";")


@pytest.mark.parametrize(("noun", "name"), NAMED, ids=lambda part: part)
def test_a_query_counts_its_parameters_from_one_without_a_gap(noun: str, name: str) -> None:
    numbers = {int(number) for number in re.findall(r"\$(\d+)", queries(noun)[name])}
    assert numbers == set(range(1, len(numbers) + 1))


@pytest.mark.parametrize(("noun", "name"), NAMED, ids=lambda part: part)
def test_somebody_asks_for_every_query(noun: str, name: str) -> None:
    assert f'"{name}"' in sources(), f"nobody asks for {name} of {noun}.sql"


def test_every_query_that_somebody_asks_for_exists() -> None:
    asked = re.findall(r'queries\("(\w+)"\)\["(\w+)"\]', sources())
    assert asked
    assert set(asked) <= set(NAMED)
    assert set(re.findall(r'\bsql\["(\w+)"\]', sources())) <= {name for _, name in NAMED}


def test_a_name_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "twins.sql").write_text("-- name: one\n-- A.\nSELECT 1;\n-- name: one\n-- B.\nSELECT 2;\n")
    monkeypatch.setattr(sql, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ValueError, match="twice"):
        queries("twins")
