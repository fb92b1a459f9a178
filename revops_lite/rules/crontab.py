"""Cron lines as crontab(5) has them: checked, and spelled out in numbers. What crontab does not know is refused.

Five fields or one of the names in `ALIASES`; in a field `*`, numbers, ranges, lists, steps after `*` or a range, and
three letters for months and days of the week, in any case. Sunday is 0 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from revops_lite.errors import ConfigError

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
EXAMPLE = 'write five fields like "0 6 * * *"'


class _Field(Struct, frozen=True):
    name: str
    first: int
    last: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        """None for what is no value of this field."""
        if text.lower() in self.words:
            return self.first + self.words.index(text.lower())
        return int(text) if text.isdigit() and self.first <= int(text) <= self.last else None


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _DAYS),
)
_PART = re.compile(r"(?:\*|([a-z]+|\d{1,9})(?:-([a-z]+|\d{1,9}))?)(?:/(\d{1,9}))?", re.IGNORECASE | re.ASCII)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days of each month, in the years in which it has most
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)


def spelled_out(line: str) -> str:
    """The line's five fields in numbers: "0 9 * * Mon-Fri" is "0 9 * * 1-5". Raises ConfigError with the mend."""
    words = ALIASES.get(line.strip().lower(), line).split()
    if len(words) != len(_FIELDS):
        raise ConfigError(f"{line!r} is no cron line; {_meant(words)}")
    try:
        spelled = [_spelled(field, word) for field, word in zip(_FIELDS, words, strict=True)]
    except ValueError as error:
        raise ConfigError(f"{line!r} is no cron line: {error}; {EXAMPLE}") from None
    _, _, days, months, weekdays = spelled
    # Without a `*` among them either kind of day will do, and every week has its days.
    if weekdays.startswith("*") and min(_values(_FIELDS[2], days)) > max(
        _LONGEST[month - 1] for month in _values(_FIELDS[3], months)
    ):
        raise ConfigError(f"{line!r} never comes; there is no such day")
    return " ".join(spelled)


def _values(field: _Field, spelled: str) -> set[int]:
    """What a field that has been spelled out stands for."""
    found: set[int] = set()
    for part in spelled.split(","):
        numbers, _, step = part.partition("/")
        low, _, high = f"{field.first}-{field.last}".partition("-") if numbers == "*" else numbers.partition("-")
        found.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return found


def _spelled(field: _Field, word: str) -> str:
    """One field. Raises ValueError naming the part that is wrong."""
    return ",".join(_part(field, part) for part in word.split(","))


def _part(field: _Field, part: str) -> str:
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} is no {field.name}")
    low, high, step = found.groups()
    if step is not None and not int(step):
        raise ValueError(f"a step of 0 in {part!r} leads nowhere")
    behind = f"/{int(step)}" if step is not None else ""
    if low is None:
        return f"*{behind}"
    if high is None:
        if step is not None:
            raise ValueError(f"{part!r} has a step without a range, such as {low}-{field.last}/{step}")
        return str(_number(field, low))
    start, end = _number(field, low), _number(field, high)
    if field.words == _DAYS and end == 0 < start:
        end = 7  # "sat-sun"
    if end < start:
        raise ValueError(f"the range {part!r} runs backwards")
    return str(start) if start == end else f"{start}-{end}{behind}"  # to croniter "1-1" is once around


def _number(field: _Field, text: str) -> int:
    number = field.number(text)
    if number is None:
        words = f", or {field.words[0]} to {field.words[-1]}" if field.words else ""
        raise ValueError(f"{text!r} is no {field.name} ({field.first} to {field.last}{words})")
    return number


def _meant(words: Sequence[str]) -> str:
    """The mend; for a time of day, with or without days, as the line that says so."""
    if len(words) == 1 and words[0].startswith("@"):
        return f"of those with @ there are {', '.join(ALIASES)}"
    times = [clock for word in words if (clock := _CLOCK.fullmatch(word))]
    days = [word for word in words if not _CLOCK.fullmatch(word)] or ["*"]
    if len(times) == len(days) == 1:
        line = f"{int(times[0][2])} {int(times[0][1])} * * {days[0]}"
        try:
            spelled_out(line)
        except ConfigError:
            return EXAMPLE
        return f'write "{line}"'
    return EXAMPLE
