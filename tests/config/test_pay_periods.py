"""`[governance.pay]`: which seconds a plan's days are, and what is said about a plan that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revops_lite.config import Examined, examine
from revops_lite.config.pay import pay_periods
from revops_lite.config.tables import PayTable
from revops_lite.models import Reason
from revops_lite.policy import AgentPolicy, Governance, PayPeriods
from revops_lite.rules.governance import judge

Examine = Callable[[str], Examined]
ROOT = Path(__file__).resolve().parents[2]
PAY = 'timezone = "{zone}"\n[governance.pay]\nplan = "plan.toml"\n'
QUARTER = "[[periods]]\nstart = 2026-10-01\nend = 2026-12-31\n"


def read(examined: Examine, plan: str, zone: str = "UTC", more: str = "") -> Examined:
    Path("plan.toml").write_text(plan)
    return examined(PAY.format(zone=zone) + more)


def found(examined: Examined) -> PayPeriods:
    assert examined.settings is not None, examined.findings
    pay = examined.settings.governance.pay
    assert pay is not None
    return pay


def test_without_the_table_there_are_no_pay_periods(examined: Examine) -> None:
    settings_ = examined('timezone = "UTC"').settings
    assert settings_ is not None
    assert settings_.governance.pay is None


def test_the_example_plan_is_the_default_and_is_read_from_beside_the_configuration(
    examined: Examine, root: Path
) -> None:
    (root / "agents" / "data").mkdir()
    example = (ROOT / "agents" / "data" / "comp_plan.toml").read_text()
    (root / "agents" / "data" / "comp_plan.toml").write_text(example)
    pay = found(examined('timezone = "America/New_York"\n[governance.pay]\n'))
    assert pay.fields == {
        "deal.amount",
        "deal.closedate",
        "deal.dealstage",
        "deal.hubspot_owner_id",
        "deal.splits",
    }
    period = pay.periods[0]
    assert (period.open, period.label) == (True, "2026-04-01 to 2026-06-30")
    assert datetime.fromtimestamp(period.start, UTC) == datetime(2026, 4, 1, 4, tzinfo=UTC)
    assert datetime.fromtimestamp(period.end, UTC) == datetime(2026, 7, 1, 4, tzinfo=UTC)


def test_periods_stand_in_the_order_of_their_days_and_are_open_unless_it_says_closed(examined: Examine) -> None:
    earlier = '[[periods]]\nstart = 2026-07-01\nend = 2026-09-30\nstate = "closed"\n'
    pay = found(read(examined, QUARTER + earlier, more='fields = ["opportunity.Amount"]'))
    assert [(period.label, period.open) for period in pay.periods] == [
        ("2026-07-01 to 2026-09-30", False),
        ("2026-10-01 to 2026-12-31", True),
    ]
    assert pay.periods[0].end == pay.periods[1].start, "no moment lies between two days"
    assert pay.fields == {"opportunity.Amount"}


def test_what_else_the_plan_says_is_not_looked_at(examined: Examine) -> None:
    assert found(read(examined, 'quota = "lots"\nrate = 0.1\n' + QUARTER))


def test_the_plan_is_looked_for_beside_the_configuration_wherever_one_stands(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (root / "plan.toml").write_text(QUARTER)
    (root / "config.toml").write_text(PAY.format(zone="UTC"))
    assert found(examine(root / "config.toml"))


BROKEN = [  # the plan, the finding's line and key, and what it says
    ("[[periods]]\nstart = 2026-10-01\nend = ", 3, "", "not valid TOML: "),
    ("[[periods]\n", 1, "", "not valid TOML: "),
    ("x = " + "[" * 5000, None, "", "nested too deeply"),
    ("", None, "periods", "there are no [[periods]]: nothing would be guarded; add one"),
    ("periods = []", 1, "periods", "there are no [[periods]]"),
    ("periods = 4", 1, "periods", "there are no [[periods]]"),
    ("[[period]]\nstart = 2026-10-01\n", None, "periods", "nothing would be guarded; did you mean 'period'?"),
    ("periods = [1]", 1, "periods[0]", "takes a table with start, end and state"),
    ("[[periods]]\nend = 2026-12-31\n", 1, "periods[0].start", "is required; add for example start = 2026-04-01"),
    ("[[periods]]\nstart = 2026-10-01\n", 1, "periods[0].end", "is required"),
    ('[[periods]]\nstart = "2026-10-01"\nend = 2026-12-31\n', 2, "periods[0].start", "a day without quotes and time"),
    ("[[periods]]\nstart = 2026-10-01\nend = 2026-12-31T00:00:00Z\n", 3, "periods[0].end", "takes a day"),
    (QUARTER + "[[periods]]\nstart = 2027-03-31\nend = 2027-01-01\n", 6, "periods[1].end", "before start (2027-03-31)"),
    (QUARTER + 'state = "opne"\n', 4, "periods[0].state", "unknown state 'opne'; did you mean 'open'?"),
    (QUARTER + "state = 1\n", 4, "periods[0].state", "unknown state '1'; there are: closed, open"),
    (
        QUARTER + "[[periods]]\nstart = 2026-12-31\nend = 2027-03-31\n",
        5,
        "periods[1].start",
        "2026-10-01 to 2026-12-31",
    ),
    (
        "[[periods]]\nstart = 2027-01-10\nend = 2027-01-20\n[[periods]]\nstart = 2026-01-01\nend = 2026-01-02\n"
        "[[periods]]\nstart = 2026-01-03\nend = 2027-01-10\n",
        2,
        "periods[0].start",
        "lies in the period 2026-01-03 to 2027-01-10; a day belongs to one period only",
    ),
]


@pytest.mark.parametrize(("plan", "line", "key", "says"), BROKEN, ids=[f"{row[2]}-{row[3][:20]}" for row in BROKEN])
def test_a_mistaken_plan_is_told_with_its_own_file_line_and_key(
    examined: Examine, plan: str, line: int | None, key: str, says: str
) -> None:
    (finding,) = read(examined, plan).findings
    assert (finding.file, finding.line, finding.key) == ("plan.toml", line, key)
    assert says in finding.problem


def test_each_period_inside_a_longer_one_is_told(examined: Examine) -> None:
    inside = "".join(f"[[periods]]\nstart = 2026-{m}-05\nend = 2026-{m}-09\n" for m in (10, 12))
    assert [each.line for each in read(examined, QUARTER + inside).findings] == [5, 8]


def test_a_plan_that_is_not_there_or_no_text_is_told_with_its_path(examined: Examine, root: Path) -> None:
    (finding,) = examined(PAY.format(zone="UTC")).findings
    assert (finding.file, finding.line) == ("plan.toml", None)
    assert "no such file; correct governance.pay.plan in config.toml" in finding.problem
    (root / "plan.toml").write_bytes(b"# \xff\n")
    (finding,) = examined(PAY.format(zone="UTC")).findings
    assert "not UTF-8 text (byte 2)" in finding.problem
    (root / "plan.toml").unlink()
    (root / "plan.toml").mkdir()
    (finding,) = examined(PAY.format(zone="UTC")).findings
    assert "cannot be read" in finding.problem


@pytest.mark.parametrize("name", ["", "x" * 5_000, "a\\u0000b", "a\\u001b[31mb\\u202e"])
def test_whatever_is_named_as_the_plan_is_told_in_a_line_that_a_terminal_can_show(examined: Examine, name: str) -> None:
    (finding,) = examined(f'timezone = "UTC"\n[governance.pay]\nplan = "{name}"\n').findings
    assert str(finding).isprintable()
    assert "correct governance.pay.plan in config.toml" in finding.problem
    assert len(str(finding)) < len(name) + 300, "the name is told once"


@pytest.mark.parametrize(
    ("more", "line", "key", "says"),
    [
        ("fields = []", 4, "governance.pay.fields", "names no field"),
        ('fields = ["deal.amount",\n "amount"]', 5, "governance.pay.fields[1]", 'takes "kind.field"'),
        ('fields = "deal.amount"', 4, "governance.pay.fields", "takes a list"),
        ("field = []", 4, "governance.pay.field", "unknown key 'field'; did you mean 'fields'?"),
    ],
)
def test_a_mistake_in_the_table_itself(examined: Examine, more: str, line: int, key: str, says: str) -> None:
    (finding,) = read(examined, QUARTER, more=more).findings
    assert (finding.file, finding.line, finding.key) == ("config.toml", line, key)
    assert says in finding.problem


def test_mistakes_of_both_files_are_told_at_once_but_none_because_of_the_other(examined: Examine) -> None:
    broken = read(examined, QUARTER + "state = 1\n", more="[crm]\npage = 1")
    assert [each.file for each in broken.findings] == ["config.toml", "plan.toml"]
    nowhere = read(examined, QUARTER, zone="Nowhere/Land")
    assert [each.key for each in nowhere.findings] == ["timezone"]


# ---- days become seconds

# Clocks that change at two, at midnight (there is no 00:00, or the hour before it comes twice), by half an hour; and
# one that left out a whole day.
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
]
DAYS = st.dates(date(2010, 1, 1), date(2035, 12, 31))


@settings(deadline=None, max_examples=300)
@given(
    zone=st.sampled_from(ZONES),
    first=DAYS,
    length=st.integers(0, 100),
    edge=st.booleans(),
    off=st.one_of(st.sampled_from([-1, 0, 1]), st.integers(-200_000_000, 200_000_000)),  # ms: a datetime rounds to µs
)
def test_a_moment_is_blocked_exactly_when_its_local_day_is_one_of_the_period(
    tmp_path_factory: pytest.TempPathFactory, zone: str, first: date, length: int, edge: bool, off: float
) -> None:
    last = first + timedelta(days=length)
    plan = tmp_path_factory.getbasetemp() / "plan.toml"
    plan.write_text(f"[[periods]]\nstart = {first}\nend = {last}\n")
    pay, findings = pay_periods(PayTable(plan=plan, fields=("deal.amount",)), plan, zone)
    assert pay is not None, findings
    period = pay.periods[0]
    now = (period.end if edge else period.start) + off / 1000
    verdict = judge(
        kind="deal",
        field="amount",
        value="1",
        confidence=1.0,
        agent=AgentPolicy("a", "a:b"),
        policy=Governance(pay=pay),
        declared=("amount",),
        holds={},
        sent=(),
        now=now,
    )
    inside = first <= datetime.fromtimestamp(now, ZoneInfo(zone)).date() <= last
    assert (verdict.reason is Reason.SENSITIVE) == inside
    assert (verdict.answer == "allow") != inside


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00+00:00", 25),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00+00:00", 23),  # began at 01:00
        ("America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00+00:00", 25),  # its last hour came twice
        ("America/Havana", "2026-11-01", "2026-11-01T04:00+00:00", 25),  # its first hour came twice
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00+00:00", 0),  # there was no such day
        ("UTC", "9999-12-31", "9999-12-31T00:00+00:00", None),
    ],
)
def test_a_day_has_the_hours_it_has(tmp_path: Path, zone: str, day: str, start: str, hours: int | None) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(f"periods = [{{ start = {day}, end = {day} }}]")
    pay, _ = pay_periods(PayTable(plan=plan), plan, zone)
    assert pay is not None
    period = pay.periods[0]
    assert period.start == datetime.fromisoformat(start).timestamp()
    assert period.end == (float("inf") if hours is None else period.start + hours * 3600)
