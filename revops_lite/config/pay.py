"""The pay periods of a plan: `[[periods]]` of the TOML file that `[governance.pay]` names. The rest of that file is the
audit agent's business and is not looked at."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from revops_lite.config.positions import lines_of, nearest
from revops_lite.config.problems import Finding, Problem, not_toml, printable, suggest, unknown
from revops_lite.config.problems import spell as spell_key
from revops_lite.config.tables import PayTable
from revops_lite.policy import PayPeriod, PayPeriods

STATES = ("open", "closed")


def pay_periods(table: PayTable, config: Path, zone: str) -> tuple[PayPeriods | None, list[Finding]]:
    """What the rule goes by, or what is wrong with the plan, told with the plan's own file and lines.

    `config` is the path of config.toml as it was given; the plan's is relative to its folder. The periods' days are
    days in `zone`, both included.
    """
    path = config.parent / table.plan.expanduser()
    text, data, finding = _parsed(path)
    if finding is not None:
        return None, [finding]
    listed = data.get("periods")
    problems = list(_problems(listed, data))
    if problems or not isinstance(listed, list):
        lines = lines_of(text)
        return None, [
            Finding(printable(str(path)), nearest(lines, key), spell_key(key), what) for key, what in problems
        ]
    periods = sorted((_period(each, ZoneInfo(zone)) for each in listed), key=lambda period: period.start)
    return PayPeriods(frozenset(table.fields), tuple(periods)), []


def _parsed(path: Path) -> tuple[str, dict[str, Any], Finding | None]:
    name = printable(str(path))
    try:
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        mend = "there is no such file; correct governance.pay.plan in config.toml, or put the pay plan there"
        return "", {}, Finding(name, None, "", mend)
    except UnicodeDecodeError as error:
        return "", {}, Finding(name, None, "", f"not UTF-8 text (byte {error.start}); save it as UTF-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error  # the name is in front already
        mend = "correct governance.pay.plan in config.toml: it has to name a file that can be read"
        return "", {}, Finding(name, None, "", f"cannot be read: {why}; {mend}")
    try:
        return text, tomllib.loads(text), None
    except RecursionError:
        return "", {}, Finding(name, None, "", "lists or tables are nested too deeply; write it flat")
    except ValueError as error:
        return "", {}, not_toml(name, text, str(error))


def _problems(listed: Any, data: Mapping[str, Any]) -> Iterator[Problem]:
    if not listed or not isinstance(listed, list):
        guess = suggest("periods", list(data)) if "periods" not in data else ""
        mend = guess if "did you mean" in guess else "; add one with start, end and state, or remove [governance.pay]"
        yield Problem(("periods",), f"there are no [[periods]]: nothing would be guarded{mend}")
        return
    sound = []
    for index, period in enumerate(listed):
        found = list(_of_one(index, period))
        yield from found
        if not found:
            sound.append((period["start"], period["end"], index))
    yield from _overlaps(sorted(sound))


def _overlaps(periods: list[tuple[date, date, int]]) -> Iterator[Problem]:
    """Of periods by their start: each that begins before an earlier one has ended."""
    last = periods[0] if periods else None
    for start, end, index in periods[1:]:
        if last is not None and start <= last[1]:
            text = f"lies in the period {last[0]} to {last[1]}; a day belongs to one period only"
            yield Problem(("periods", index, "start"), text)
        if last is None or end > last[1]:
            last = (start, end, index)


def _of_one(index: int, period: Any) -> Iterator[Problem]:
    if not isinstance(period, dict):
        yield Problem(("periods", index), "takes a table with start, end and state")
        return
    days = 0
    for name in ("start", "end"):
        if name not in period:
            yield Problem(("periods", index, name), f"is required; add for example {name} = 2026-04-01")
        elif type(period[name]) is not date:  # a datetime is a date, too
            yield Problem(("periods", index, name), "takes a day without quotes and time, such as 2026-04-01")
        else:
            days += 1
    if days == 2 and period["end"] < period["start"]:
        yield Problem(("periods", index, "end"), f"is before start ({period['start']}); both days are included")
    state = period.get("state", "open")
    if state not in STATES:
        yield Problem(("periods", index, "state"), unknown("state", str(state), STATES))


def _period(period: Mapping[str, Any], zone: ZoneInfo) -> PayPeriod:
    first, last = period["start"], period["end"]
    end = _begins(last + timedelta(days=1), zone) if last < date.max else inf
    return PayPeriod(_begins(first, zone), end, period.get("state", "open") == "open", f"{first} to {last}")


def _begins(day: date, zone: ZoneInfo) -> float:
    """The first moment of a day. Where the clocks skip midnight, that is the moment in which they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
