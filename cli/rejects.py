"""The file of rejected rows: as they were, with line and reason; once mended it can be imported as it is."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Self

import msgspec

from cli.catalogue_file import OWN_COLUMNS, CatalogueFileError, Format, Table, field_name
from cli.catalogue_rows import Rejected

CSV_BEGIN, JSON_BEGIN = b"line,reason,", b'{"line":'


class RejectsFile:
    """Written as rejections come, beside its place until the import is done; without any there is no file.

    One of an earlier run is replaced, or removed, by an import that comes to its end.
    """

    def __init__(self, path: Path, source: Path) -> None:
        if path.absolute() == source.absolute() or (path.exists() and path.samefile(source)):
            raise CatalogueFileError(f"{path}: the rejected rows cannot go into the file that is imported")
        self.path = path
        part = path.with_name(f"{path.name}.part")
        if part.exists() and part.samefile(source):
            raise CatalogueFileError(f"{part}: is in the way of the rejected rows: call the imported file otherwise")
        # A device such as /dev/null is written to as it is.
        self._part = path if path.exists() and not path.is_file() else part
        self._file: io.TextIOWrapper | None = None
        self._has_header = False

    def __enter__(self) -> Self:
        try:
            # Made now, so that a place that cannot be written to is told before anything is imported.
            self._file = self._part.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise CatalogueFileError(f"{self.path}: {error.strerror or error}") from None
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is None:
            return
        self._file.close()
        if self._part == self.path:
            return
        if kind is None and self._part.stat().st_size > 0:
            self._part.replace(self.path)
            return
        self._part.unlink()
        if kind is None and _is_ours(self.path):
            self.path.unlink()

    def write(self, rejected: Rejected, table: Table) -> None:
        """Append one row in the format of the file that it came from."""
        if self._file is None:
            raise ValueError("the file of rejected rows is not open")
        if table.format == "csv":
            self._write_csv(self._file, rejected, table.columns)
        else:
            self._file.write(_json_line(rejected))

    def _write_csv(self, file: io.TextIOWrapper, rejected: Rejected, columns: tuple[str, ...]) -> None:
        own = {i for i, column in enumerate(columns) if field_name(column) in OWN_COLUMNS}
        writer = csv.writer(file)
        if not self._has_header:
            writer.writerow(["line", "reason", *(column for i, column in enumerate(columns) if i not in own)])
            self._has_header = True
        record = rejected.record
        cells = [cell for i, cell in enumerate(record.cells) if i not in own] or [record.text.rstrip("\r\n")]
        writer.writerow([record.line, rejected.reason, *cells])


def _is_ours(path: Path) -> bool:
    """Whether a file looks like one of rejected rows."""
    try:
        with path.open("rb") as file:
            return file.readline(len(CSV_BEGIN)).startswith((CSV_BEGIN, JSON_BEGIN))
    except OSError:
        return False


def _json_line(rejected: Rejected) -> str:
    record = rejected.record
    row: dict[str, object] = {"line": record.line, "reason": rejected.reason}
    try:
        fields = msgspec.json.decode(record.text, type=dict[str, msgspec.Raw])
        row |= {name: value for name, value in fields.items() if name not in OWN_COLUMNS}
    except msgspec.DecodeError:
        row["text"] = record.text.rstrip("\r\n")
    return msgspec.json.encode(row).decode() + "\n"


def rejects_path(source: Path, file_format: Format) -> Path:
    """Where the rejected rows of `source` go when nobody says otherwise."""
    return Path(f"{source}.rejected.{file_format}")
