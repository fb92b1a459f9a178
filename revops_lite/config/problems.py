"""What is wrong with a configuration, said so that a person can mend it: key, problem, and the nearest right word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import NamedTuple

from msgspec import Struct

from revops_lite.config.positions import Key

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Problem(NamedTuple):
    """A key ("workflows", "new_lead", "steps", 1) and what is wrong there, with the mend."""

    key: Key
    text: str


class Finding(Struct, frozen=True):
    """One line for a person: `config.toml:12: redis.url: ...`. `line` is None where the file names nothing near."""

    file: str
    line: int | None
    key: str
    problem: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.problem}" if self.key else f"{place}: {self.problem}"


def spell(key: Key) -> str:
    """The key as TOML writes it: `governance.fields."deal.amount".mode`, `workflows.new_lead.steps[1].agent`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else quoted(part))
    return text


def quoted(text: str, mark: str = '"') -> str:
    """Text between quotes, on one line and without anything a terminal would obey."""
    return f"{mark}{printable(text).replace(mark, chr(92) + mark)}{mark}"


def printable(text: str) -> str:
    """Text on one line, with everything that a terminal would obey made visible."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def suggest(word: str, known: Collection[str], otherwise: str = "") -> str:
    """`; did you mean 'scoring'?`, or else the words there are, or else `; ` + `otherwise`."""
    near = difflib.get_close_matches(word.lower(), {each.lower(): each for each in known}, n=1)
    if near:
        return f"; did you mean {next(quoted(each, chr(39)) for each in known if each.lower() == near[0])}?"
    if known and len(known) <= 24:
        return "; there are: " + ", ".join(sorted(known))
    return f"; {otherwise}" if otherwise else ""


def unknown(what: str, word: str, known: Collection[str], otherwise: str = "") -> str:
    """`unknown agent 'scorng'; did you mean 'scoring'?`"""
    return f"unknown {what} {quoted(word, chr(39))}{suggest(word, known, otherwise)}"


def not_toml(file: str, text: str, message: str) -> Finding:
    """What tomllib says against a file, with its line."""
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)", message)
    if place is None:
        return Finding(file, None, "", f"not valid TOML: {printable(message)}")
    line = int(place[1]) if place[1] else text.count("\n") + 1
    column = f" (column {place[2]})" if place[2] else " (the file ends too early)"
    return Finding(file, line, "", f"not valid TOML: {printable(message[: place.start()])}{column}")
