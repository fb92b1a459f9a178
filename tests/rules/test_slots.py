"""Slots of a cron line: right over every clock change, judged by a scan of the clock, minute by minute."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.errors import ConfigError
from revops_lite.rules.slots import LATE_AFTER, Firing, firings, last_slot, next_slot

Matches = Callable[[datetime], bool]
MINUTE = timedelta(minutes=1)

ZONES = {  # days around both changes of 2026
    "America/New_York": ((3, 7), (10, 31)),
    "Europe/Berlin": ((3, 28), (10, 24)),
    "Australia/Lord_Howe": ((10, 3), (4, 4)),  # half an hour
    "Africa/Cairo": ((4, 23), (10, 29)),  # at midnight
    "America/Santiago": ((9, 5), (4, 4)),  # at midnight, southern
    "Australia/Sydney": ((10, 3), (4, 4)),  # an hour, southern
    "Asia/Kolkata": ((3, 28), (10, 24)),  # never
}
LINES: dict[str, Matches] = {
    "30 2 * * *": lambda wall: (wall.hour, wall.minute) == (2, 30),
    "0 6 * * *": lambda wall: (wall.hour, wall.minute) == (6, 0),
    "15 0 * * *": lambda wall: (wall.hour, wall.minute) == (0, 15),
    "*/20 * * * *": lambda wall: wall.minute % 20 == 0,
    "45 1 * * sat,Sun": lambda wall: (wall.hour, wall.minute) == (1, 45) and wall.weekday() >= 5,
}


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def scan(matches: Matches, zone: ZoneInfo, start: datetime, days: int) -> list[float]:
    """What a person who watches the clock of the zone would note: independent of the code under test."""
    slots: list[float] = []
    shown: set[datetime] = set()
    moment = start
    before = moment.astimezone(zone).replace(tzinfo=None) - MINUTE
    while moment < start + timedelta(days=days):
        wall = moment.astimezone(zone).replace(tzinfo=None)
        left_out = []
        step = before + MINUTE
        while step < wall:
            left_out.append(step)
            step += MINUTE
        if any(matches(each) and each not in shown for each in [*left_out, wall]):
            slots.append(moment.timestamp())
        shown |= {wall, *left_out}
        before = wall
        moment += MINUTE
    return slots


def first(name: str, change: int) -> datetime:
    """When the scan of a zone begins: a day before the one that is named."""
    return datetime(2026, *ZONES[name][change], 3, 0, tzinfo=ZoneInfo(name)).astimezone(UTC) - timedelta(days=1)


def test_the_table_has_six_zones_with_both_changes_and_both_times() -> None:
    assert {"30 2 * * *", "0 6 * * *"} <= set(LINES)
    changing = set()
    for name in ZONES:
        days = [[first(name, change) + timedelta(days=day) for day in range(5)] for change in (0, 1)]
        offsets = [[day.astimezone(ZoneInfo(name)).utcoffset() or timedelta() for day in window] for window in days]
        if {window[-1] > window[0] for window in offsets if window[-1] != window[0]} == {True, False}:
            changing.add(name)
    assert changing == set(ZONES) - {"Asia/Kolkata"}
    assert len(changing) >= 6


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("change", [0, 1], ids=["one", "other"])
@pytest.mark.parametrize("name", ZONES)
def test_slots_over_a_clock_change_are_those_that_a_scan_of_the_clock_finds(name: str, change: int, line: str) -> None:
    zone, start = ZoneInfo(name), first(name, change)
    expected = scan(LINES[line], zone, start, 4)
    assert expected
    at, found = start.timestamp() - 1, []
    while (at := next_slot(line, zone, at)) <= expected[-1]:
        found.append(at)
    assert found == expected
    for index, slot in enumerate(expected):
        assert last_slot(line, zone, slot) == slot
        if index:
            assert last_slot(line, zone, slot - 1) == expected[index - 1]


@pytest.mark.parametrize(
    ("zone", "after", "slot"),
    [
        ("America/New_York", "2026-03-08T00:00", "2026-03-08T07:00"),  # 2:00 becomes 3:00: right after it
        ("America/New_York", "2026-11-01T05:00", "2026-11-01T07:30"),  # 1:00 is shown twice, 2:30 once
        ("Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30"),  # the first of two
        ("Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),  # and not the second
        ("Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-03T15:30"),  # 2:00 becomes 2:30
        ("Asia/Kolkata", "2026-10-24T00:00", "2026-10-24T21:00"),
    ],
)
def test_half_past_two_where_the_clock_changes(zone: str, after: str, slot: str) -> None:
    assert next_slot("30 2 * * *", ZoneInfo(zone), utc(after)) == utc(slot)


def test_a_day_that_a_zone_left_out_has_one_slot_right_after_it() -> None:
    apia = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
    assert next_slot("0 6 30 12 *", apia, utc("2011-12-29T00:00")) == utc("2011-12-30T10:00")


@pytest.mark.parametrize(
    ("line", "slot"),
    [
        ("0 9 * * Mon-Fri", "2026-01-05T09:00"),
        ("0 9 * * 7", "2026-01-04T09:00"),
        ("0 9 13 * fri", "2026-01-09T09:00"),  # a day of the month or a day of the week, as crontab has it
        ("0 0 1 jan,JUL *", "2026-07-01T00:00"),
        ("5-59/15 22 * * *", "2026-01-03T22:05"),
        ("0 9 * * 0", "2026-01-04T09:00"),
        ("0 9 * * sat-sun", "2026-01-04T09:00"),
        ("0 9 13 * */2", "2026-01-13T09:00"),  # both, where one of them begins with *: the 13th is a Tuesday
        ("0 9 */2 * mon", "2026-01-05T09:00"),
        ("*/60 * * * *", "2026-01-03T13:00"),
        ("@hourly", "2026-01-03T13:00"),
        ("@daily", "2026-01-04T00:00"),
        ("@Midnight", "2026-01-04T00:00"),
        ("@weekly", "2026-01-04T00:00"),
        ("@monthly", "2026-02-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
    ],
)
def test_a_line_means_what_crontab_means(line: str, slot: str) -> None:
    assert next_slot(line, ZoneInfo("UTC"), utc("2026-01-03T12:00")) == utc(slot)


@pytest.mark.parametrize("line", ["", "6 o'clock", "60 * * * *", "* * * * * *", "H * * * *", "R 1 * * *", "a b c d e"])
def test_what_is_no_cron_line_is_refused_with_the_mend(line: str) -> None:
    with pytest.raises(ConfigError, match="write five fields"):
        next_slot(line, ZoneInfo("UTC"), 0.0)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0 L * *", "'L' is no day of the month"),
        ("0 0 15W * *", "'15W' is no day of the month"),
        ("0 0 * * 5#2", "'5#2' is no day of the week"),
        ("0 0 ? * *", "'[?]' is no day of the month"),
        ("0 0 * * 8", "'8' is no day of the week"),
        ("0 0 0 * *", "'0' is no day of the month"),
        ("0 0 * 13 *", "'13' is no month"),
        ("0 24 * * *", "'24' is no hour"),
        ("mon * * * *", "'mon' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("*/0 * * * *", "a step of 0"),
        ("10/15 * * * *", "has a step without a range, such as 10-59/15"),
        ("50-10 * * * *", "runs backwards"),
        ("0 0 * * fri-mon", "runs backwards"),
        ("٣ * * * *", "is no minute"),
        ("@reboot", "there are @hourly"),
        ("9:00 Mon-Fri", 'write "0 9 [*] [*] Mon-Fri"'),
        ("9:00", 'write "0 9 [*] [*] [*]"'),
        ("9:00 Mon-Fri sharp", "write five fields"),
    ],
)
def test_what_crontab_does_not_know_is_refused_by_its_name(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        next_slot(line, ZoneInfo("UTC"), 0.0)


FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@st.composite
def lists(draw: st.DrawFn, low: int, high: int) -> tuple[str, set[int]]:
    """A field of a line, and the values it means."""
    texts, values = [], set()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(low, high))
        end = draw(st.integers(start, high))
        step = draw(st.integers(1, 20))
        kind = draw(st.sampled_from(["number", "range", "stepped"]))
        texts.append({"number": f"{start}", "range": f"{start}-{end}", "stepped": f"{start}-{end}/{step}"}[kind])
        values |= set({"number": [start], "range": range(start, end + 1), "stepped": range(start, end + 1, step)}[kind])
    return ",".join(texts), values


@given(st.data())
def test_a_line_of_lists_ranges_and_steps_comes_when_its_fields_say(data: st.DataObject) -> None:
    fields = [data.draw(st.just(("*", set())) | lists(low, high)) for low, high in FIELDS]
    after = utc("2026-01-03T12:00")
    line, slot = " ".join(text for text, _ in fields), None
    with suppress(ConfigError):  # 31 February: judged below
        slot = datetime.fromtimestamp(next_slot(line, ZoneInfo("UTC"), after), UTC)
    (_, minutes), (_, hours), (_, dates), (_, months), (_, days) = fields

    def fits(day: datetime) -> bool:
        kinds = [day.day in dates] * bool(dates) + [day.isoweekday() % 7 in days] * bool(days)
        return (not months or day.month in months) and (any(kinds) or not kinds)

    times = [(hour, minute) for hour in sorted(hours or range(24)) for minute in sorted(minutes or range(60))]
    begin = datetime(2026, 1, 3, tzinfo=UTC)
    days_that_fit = (day for number in range(9 * 366) if fits(day := begin + timedelta(days=number)))
    moments = (day + timedelta(hours=hour, minutes=minute) for day in days_that_fit for hour, minute in times)
    assert slot == next((moment for moment in moments if moment.timestamp() > after), None)


@pytest.mark.parametrize(
    "line", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31/1 feb */2", "0 0 30,31 2-2 *", "0 0 31 4-6/2 */3"]
)
def test_a_line_that_never_comes_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="never comes"):
        next_slot(line, ZoneInfo("UTC"), 0.0)


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("0 0 29 2 *", "1972-02-29T00:00"),
        ("0 0 29 2 */7", "1976-02-29T00:00"),  # both kinds of day have to fit: a Sunday
        ("0 0 30 2 mon", "1970-02-02T00:00"),  # either will do
        ("0 0 */30 2 *", "1970-02-01T00:00"),
        ("0 0 31 4-7/3 *", "1970-07-31T00:00"),
    ],
)
def test_a_day_that_some_years_have_comes(line: str, first: str) -> None:
    assert next_slot(line, ZoneInfo("UTC"), 0.0) == utc(first)


def test_a_fraction_of_a_second_never_steps_over_a_slot() -> None:
    six = utc("2026-01-03T06:00")
    for before in (six - 0.5, math.nextafter(six, 0)):
        assert next_slot("0 6 * * *", ZoneInfo("UTC"), before) == six


@given(
    line=st.sampled_from(
        ["*/7 * * * *", "30 2 * * *", "0 0 31 * *", "15 1 * * sun", "*/13 */5 2-9 * mon", "0 6 * * *"]
    ),
    zone=st.sampled_from([*ZONES, "Pacific/Apia", "UTC"]),
    at=st.integers(int(utc("2010-01-01T00:00")), int(utc("2035-01-01T00:00"))),
)
def test_no_slot_lies_between_the_last_and_the_next(line: str, zone: str, at: int) -> None:
    where = ZoneInfo(zone)
    last, following = last_slot(line, where, at), next_slot(line, where, at)
    assert last <= at < following
    assert next_slot(line, where, last) == following
    assert last_slot(line, where, following - 1) == last


HOURLY, ZONE, HOUR = "0 * * * *", ZoneInfo("UTC"), 3600.0
NOON = utc("2026-01-03T12:00")


@pytest.mark.parametrize("missed", ["latest", "all", "skip"])
def test_nothing_is_done_before_its_time_and_a_slot_on_time_is_told(missed: str) -> None:
    assert firings(HOURLY, ZONE, NOON, NOON - 0.001, missed) == []
    assert firings(HOURLY, ZONE, NOON, NOON, missed) == [Firing(NOON, NOON + HOUR)]
    assert firings(HOURLY, ZONE, NOON, NOON + LATE_AFTER, missed) == [Firing(NOON, NOON + HOUR)]


def test_three_missed_slots_follow_each_policy() -> None:
    now, end = NOON + 2.5 * HOUR, NOON + 3 * HOUR
    assert firings(HOURLY, ZONE, NOON, now, "latest") == [Firing(NOON + 2 * HOUR, end)]
    assert firings(HOURLY, ZONE, NOON, now, "skip") == [Firing(None, end)]
    every = [Firing(NOON + hour * HOUR, NOON + (hour + 1) * HOUR) for hour in range(3)]
    assert firings(HOURLY, ZONE, NOON, now, "all") == every
    assert firings(HOURLY, ZONE, NOON, now, "all", limit=2) == every[:2]
