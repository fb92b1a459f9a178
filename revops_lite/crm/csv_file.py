"""A CSV file as some CRM, or a spreadsheet, wrote it: its encoding, its delimiter, its header, its rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from revops_lite.errors import NotFound, UsageError

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = (",", ";", "\t", "|")  # the first wins where several would do
LONGEST = 16 * 1024 * 1024  # characters in one cell: an e-mail's body is more than csv's own 131,072
CHUNK = 1024 * 1024
SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)  # a first line that only Excel understands


class CsvFile(Struct, frozen=True):
    """How to read a file, and its header. Column names are stripped and no two are alike."""

    path: Path
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    problems: tuple[str, ...]  # what is odd about the header
    skip: int = 0  # lines above the header

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line where the row starts, its cells) of every row that is not blank. Raises UsageError with the line."""
        with _reader(self.path, self.encoding, self.delimiter, self.skip) as reader:
            next(reader)
            start = reader.line_num
            for cells in reader:
                if any(cells):
                    yield self.skip + start + 1, cells
                start = reader.line_num


def open_csv(path: Path, wanted: str) -> CsvFile:
    """Look at a file without keeping it open; `wanted` is a column that tells the right delimiter from others.

    Read as UTF-8 (with or without a mark), UTF-16 with its mark, or else Windows-1252. Raises NotFound, and
    UsageError for what is no CSV.
    """
    encoding = _encoding(path)
    with path.open(encoding=encoding, newline="") as stream:
        told = SEPARATOR.fullmatch(stream.readline(CHUNK))
    skip = 1 if told else 0
    delimiters = (told[1],) if told else DELIMITERS
    headers = {mark: _header(path, encoding, mark, skip) for mark in delimiters}
    delimiter = max(delimiters, key=lambda mark: (wanted in headers[mark], len(headers[mark])))
    if not any(headers[delimiter]):
        raise UsageError(f"{path}: line {skip + 1}: no header; the first line has to name the columns")
    columns, problems = _distinct(headers[delimiter], skip + 1)
    return CsvFile(path, encoding, delimiter, columns, problems, skip)


@contextmanager
def _reader(path: Path, encoding: str, delimiter: str, skip: int) -> Iterator[Reader]:
    """Strict: a missing quotation mark would otherwise swallow the rest of the file."""
    csv.field_size_limit(max(LONGEST, csv.field_size_limit()))
    with path.open(encoding=encoding, newline="") as stream:
        for _ in range(skip):
            stream.readline()
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            yield reader
        except csv.Error as error:
            line = skip + reader.line_num
            raise UsageError(
                f"{path}: line {line}: not CSV ({error}); is a quotation mark missing, or not doubled?"
            ) from error


def _header(path: Path, encoding: str, delimiter: str, skip: int) -> list[str]:
    """The header by this delimiter; empty where there is none, or where it cannot be read so."""
    try:
        with _reader(path, encoding, delimiter, skip) as reader:
            return [name.strip() for name in next(iter(reader), [])]
    except UsageError:
        return []


def _distinct(header: list[str], line: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    columns: list[str] = []
    problems = []
    for number, name in enumerate(header, start=1):
        name, count, first = name or f"column_{number}", 1, name
        while name in columns:
            count += 1
            name = f"{first}_{count}"
        if count > 1:
            problems.append(f'line {line}: column "{first}" stands there again; it is read as "{name}"')
        columns.append(name)
    return tuple(columns), tuple(problems)


def _encoding(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            start = stream.read(CHUNK)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        tries = ["utf-16"]
    elif start.startswith(b"PK\x03\x04") or b"\0" in start:
        raise UsageError(f"{path}: no CSV; save the sheet as CSV (UTF-8) and import that")
    else:
        tries = ["utf-8-sig", "cp1252"]
    for encoding in tries:
        if _decodes(path, encoding):
            return encoding
    raise UsageError(f"{path}: neither UTF-8 nor Windows-1252; save it as CSV (UTF-8)")


def _decodes(path: Path, encoding: str) -> bool:
    try:
        with path.open(encoding=encoding, newline="") as stream:
            while stream.read(CHUNK):
                pass
    except UnicodeError:
        return False
    return True
