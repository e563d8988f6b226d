"""Reads a catalogue file, CSV or JSON Lines, record by record in bounded memory; catalogue_rows judges the values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

Format = Literal["csv", "jsonl"]
SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DELIMITERS = (",", ";", "\t")

MAX_ROWS = 2_000_000
MAX_RECORD_CHARS = 1_048_576
MAX_COLUMNS = 200

FIELDS = frozenset(
    {
        "sku",
        "name",
        "price",
        "price_minor",
        "quantity",
        "currency",
        "customer_limit",
        "description",
        "category",
        "product",
        "attributes",
    }
)
ATTRIBUTE_FIELD = "attributes."
OWN_COLUMNS = frozenset({"line", "reason"})
"""What a file of rejected rows has besides; it may be mended and imported as it is."""

Value = str | int | Decimal | bool | None | dict[str, Any]


class CatalogueFileError(ValueError):
    """The file cannot be read as a catalogue at all; the message is one line for the operator."""


class Record(Struct, frozen=True):
    """One record as it stands in the file: the line it begins on, and its values by field.

    `fault` says why it could not be taken apart, and is empty otherwise. What it takes to write it once more is in
    `cells` (a CSV's, in order) or, for JSON and for what is no CSV, in `text`.
    """

    line: int
    values: dict[str, Value]
    fault: str = ""
    cells: tuple[str, ...] = ()
    text: str = ""


class Table(Struct):
    """A file being read. `columns` are a CSV's, as written; `ignored` grows as unknown fields are met."""

    format: Format
    columns: tuple[str, ...]
    records: Iterator[Record]
    ignored: list[str]


def format_of(path: Path) -> Format:
    """The format that a file's name tells. Raises CatalogueFileError for an unknown ending."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise CatalogueFileError(f"{path}: cannot tell the format from the name; give --format csv or jsonl") from None


@contextmanager
def read_catalogue(path: Path, file_format: Format) -> Iterator[Table]:
    """Open a file for one pass over its records. Raises CatalogueFileError, also while the records are read."""
    with _opened(path) as file:
        lines = _Lines(path, file)
        yield _csv_table(lines) if file_format == "csv" else _json_table(lines)


def _opened(path: Path) -> io.TextIOWrapper:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise CatalogueFileError(f"{path}: {error.strerror or error}") from None


class _Lines:
    """The physical lines of a file, counted; keeps those of the record being read."""

    def __init__(self, path: Path, file: io.TextIOBase) -> None:
        self.path = path
        self.number = 0
        self.taken: list[str] = []
        self._chars = 0
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._file.readline(MAX_RECORD_CHARS + 1)
        except UnicodeDecodeError as error:
            bad = error.object[error.start]
            raise CatalogueFileError(
                f"{self.path}: not UTF-8 text (byte 0x{bad:02x} after line {self.number}); save it as UTF-8"
            ) from None
        except OSError as error:
            raise CatalogueFileError(f"{self.path}: {error.strerror or error}") from None
        if not line:
            raise StopIteration
        self.number += 1
        self._chars += len(line)
        if self._chars > MAX_RECORD_CHARS:
            raise CatalogueFileError(
                f"{self.path}: the record at line {self.number} is longer than {MAX_RECORD_CHARS:,} characters"
            )
        self.taken.append(line)
        return line

    def begin_record(self) -> None:
        self.taken.clear()
        self._chars = 0


def _csv_table(lines: _Lines) -> Table:
    header = next(lines, None)
    if header is None:
        raise CatalogueFileError(f"{lines.path}: the file is empty")
    delimiter = max(DELIMITERS, key=header.count)
    try:
        columns = tuple(next(csv.reader([header], delimiter=delimiter, strict=True), []))
    except csv.Error as error:
        raise CatalogueFileError(f"{lines.path}: the header cannot be read: {error}") from None
    names = [field_name(column) for column in columns]
    _check_columns(lines.path, names)
    ignored = [
        column for column, name in zip(columns, names, strict=True) if not is_field(name) and name not in OWN_COLUMNS
    ]
    return Table("csv", columns, _csv_records(lines, names, delimiter), ignored)


def field_name(column: str) -> str:
    """The field that a column stands for; the name of an attribute is the file's own."""
    name = column.strip()
    if name.lower().startswith(ATTRIBUTE_FIELD):
        return ATTRIBUTE_FIELD + name[len(ATTRIBUTE_FIELD) :].strip()
    return name.lower().replace(" ", "_")


def is_field(name: str) -> bool:
    """Whether an import takes anything from this field."""
    return name in FIELDS or name.startswith(ATTRIBUTE_FIELD)


def _check_columns(path: Path, names: list[str]) -> None:
    known = [name for name in names if is_field(name)]
    twice = sorted({name for name in known if known.count(name) > 1})
    missing = [name for name in ("sku", "name", "quantity") if name not in names]
    if "price" not in names and "price_minor" not in names:
        missing.append("price (or price_minor)")
    if len(names) > MAX_COLUMNS:
        raise CatalogueFileError(f"{path}: more than {MAX_COLUMNS} columns")
    if missing:
        raise CatalogueFileError(f"{path}: the first line names no column {', '.join(missing)}")
    if twice:
        raise CatalogueFileError(f"{path}: the column {', '.join(twice)} is there twice")
    if "price" in names and "price_minor" in names:
        raise CatalogueFileError(f"{path}: price and price_minor are both there; keep one")


def _csv_records(lines: _Lines, names: list[str], delimiter: str) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        first = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(first, {}, f"the quotes or separators are broken: {error}", text="".join(lines.taken))
            continue
        while len(cells) > len(names) and not cells[-1].strip():  # spreadsheets pad rows with separators
            cells.pop()
        if not any(cell.strip() for cell in cells):
            continue
        fault = "" if len(cells) == len(names) else "has another number of values than the first line has columns"
        values: dict[str, Value] = {} if fault else dict(zip(names, cells, strict=True))
        yield Record(first, values, fault, tuple(cells))


def count_records(path: Path, file_format: Format) -> int:
    """Read the whole file once, so that one that is unusable is told before anything is imported."""
    if path.is_fifo() or path.is_char_device():
        raise CatalogueFileError(f"{path}: can be read only once, and is read twice: write it to a file first")
    with read_catalogue(path, file_format) as table:
        count = 0
        for count, _ in enumerate(table.records, start=1):
            if count > MAX_ROWS:
                raise CatalogueFileError(f"{path}: more than {MAX_ROWS:,} rows; split it")
    if count == 0:
        raise CatalogueFileError(f"{path}: there are no rows in it")
    return count


def _json_table(lines: _Lines) -> Table:
    ignored: list[str] = []
    return Table("jsonl", (), _json_records(lines, ignored), ignored)


def _json_records(lines: _Lines, ignored: list[str]) -> Iterator[Record]:
    decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
    for line in lines:
        lines.begin_record()
        if not line.strip():
            continue
        try:
            fields = decode(line)
        except msgspec.ValidationError:
            yield Record(lines.number, {}, "the line is JSON, but no object", text=line)
            continue
        except (msgspec.DecodeError, RecursionError):
            yield Record(lines.number, {}, "the line is not JSON", text=line)
            continue
        unknown = (name for name in fields if not (is_field(name) or name in OWN_COLUMNS or name in ignored))
        ignored.extend(name for name, _ in zip(unknown, range(MAX_COLUMNS - len(ignored)), strict=False))
        values = {name: value for name, value in fields.items() if is_field(name)}
        nested = next((name for name, value in values.items() if _is_nested(name, value)), None)
        yield Record(lines.number, values, "" if nested is None else f"{nested}: must be a plain value", text=line)


def _is_nested(name: str, value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, dict) and name != "attributes")
