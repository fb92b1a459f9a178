"""On which line of a TOML file each key stands. tomllib reads the values but forgets the places.

This is a scanner, not a parser: it runs only over text that tomllib has accepted, so it never has to judge.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

from msgspec import Struct, field

Key = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # multi-line text; up to two quotes may stand before the closing three
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|\n|[\[\]{}=,.]"
    r"""|[^\s\[\]{}=,."'#]+""",
    re.DOTALL,
)
_OPEN, _CLOSE = "[{", "]}"


def lines_of(text: str) -> dict[Key, int]:
    """Line (from 1) of every table, key and list element of valid TOML; list elements are numbered from 0."""
    return _Scan(_tokens(text)).lines


def nearest(lines: Mapping[Key, int], key: Key) -> int | None:
    """The line of `key`, or of the nearest table around it that the file names; None for an absent section."""
    for end in range(len(key), 0, -1):
        if key[:end] in lines:
            return lines[key[:end]]
    return None


def _tokens(text: str) -> list[tuple[str, int]]:
    found, line, at = [], 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        if not match[0].startswith("#"):
            found.append((match[0], line))
        line += match[0].count("\n")
        at = match.end()
    return found


class _Scan(Struct):
    """One pass over the tokens; `at` is the next one. Ends when the tokens do."""

    tokens: list[tuple[str, int]]
    at: int = 0
    lines: dict[Key, int] = field(default_factory=dict)
    counts: dict[Key, int] = field(default_factory=dict)  # [[key]] -> how many so far

    def __post_init__(self) -> None:
        table: Key = ()
        while self.at < len(self.tokens):
            if self._peek() == "\n":
                self.at += 1
            elif self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    def _peek(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at][0] if at < len(self.tokens) else "\n"

    def _header(self) -> Key:
        line, many = self.tokens[self.at][1], self._peek(1) == "["
        self.at += 2 if many else 1
        table: Key = ()
        *parents, last = self._names()
        for name in parents:
            table = self._latest((*table, name))
            self.lines.setdefault(table, line)
        table = (*table, last)
        if many:
            self.lines.setdefault(table, line)
            self.counts[table] = self.counts.get(table, 0) + 1
        table = self._latest(table)
        self.lines.setdefault(table, line)
        while self._peek() != "\n":
            self.at += 1
        return table

    def _latest(self, table: Key) -> Key:
        return (*table, self.counts[table] - 1) if table in self.counts else table

    def _names(self) -> list[str]:
        names: list[str] = []
        while self._peek() not in ("=", "]", "\n"):
            token = self._peek()
            if token != ".":
                names.append(str(tomllib.loads(f"key = {token}")["key"]) if token[0] in "\"'" else token)
            self.at += 1
        return names or [""]

    def _pair(self, table: Key) -> None:
        line = self.tokens[self.at][1]
        for name in self._names():
            table = (*table, name)
            self.lines.setdefault(table, line)
        self.at += 1  # the "="
        self._value(table)

    def _value(self, key: Key) -> None:
        opened = self._peek()
        if opened not in _OPEN:
            while self._peek() not in (",", "]", "}", "\n"):
                self.at += 1
            return
        self.at += 1
        index = 0
        while self.at < len(self.tokens) and self._peek() not in _CLOSE:
            if self._peek() in (",", "\n"):
                self.at += 1
            elif opened == "{":
                self._pair(key)
            else:
                self.lines.setdefault((*key, index), self.tokens[self.at][1])
                self._value((*key, index))
                index += 1
        self.at += 1
