"""`revops init DIR --from DEALS.csv`: from an export to an installation that reviews its deals."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pexpect
import pytest

from agents.deal_inspection import inspect
from revops_lite import Snapshot, config
from revops_lite.cli import intake_cmds, terminal
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import NotFound, Refused, RevopsError, UsageError
from revops_lite.intake import deal_review_only, guess, intake

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
STARTER = (HERE / "starter.toml").read_text(encoding="utf-8")
Make = Callable[..., list[str]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`revops init made --from FILE`, with a starter of our own."""
    starter = tmp_path / "starter"
    (starter / "agents").mkdir(parents=True)
    (starter / "config.toml").write_text(STARTER, encoding="utf-8")
    (starter / "agents" / "deal_inspection.py").write_text("")
    monkeypatch.setattr(intake_cmds, "find_starter", lambda: starter)

    def make(file: Path, *maps: str, dates: Any = None, yes: bool = True) -> list[str]:
        return intake_cmds.init_from(tmp_path / "made", file, maps, dates, yes)

    return make


def deals(installation: Path, where: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    crm = SqliteCrm(installation / "var" / "crm.sqlite3", {})
    try:
        return {record.id: dict(record.values) for page in crm.sweep("deal", where or {}, 100) for record in page}
    finally:
        crm.close()


def test_an_export_becomes_an_installation(make: Make, tmp_path: Path) -> None:
    export = HERE / "exports" / "salesforce.csv"
    lines = make(export)
    made = tmp_path / "made"
    assert (made / "data" / "deals.csv").read_bytes() == export.read_bytes()
    assert (made / "agents" / "deal_inspection.py").is_file()
    assert "  var/crm.sqlite3 (3 deals, 2 owners)" in lines
    assert lines[-3:] == [f"  cd {made}", "  revops workflow start deal_review", "  revops up --until-idle"]
    assert set(deals(made)) == {"006A01", "006A02", "006A03"}
    assert set(deals(made, {"is_closed": False})) == {"006A01"}
    assert set(deals(made, {"is_closed": True})) == {"006A02", "006A03"}
    assert deals(made)["006A02"]["amount"] == "5000"


def test_the_deal_finds_its_owner(make: Make, tmp_path: Path) -> None:
    make(HERE / "exports" / "hubspot.csv")
    settings = config.load(tmp_path / "made" / "config.toml", agents=False)
    crm = SqliteCrm(settings.crm.path, settings.crm.relations)
    assert crm.related(["deal:1001"], ["owner"]) == {"deal:1001": {"owner": ("owner:Ana-Ruiz",)}}
    assert crm.read(["owner:Ana-Ruiz"])["owner:Ana-Ruiz"].values == {"name": "Ana Ruiz"}
    crm.close()


def test_the_configuration_has_the_deal_review_and_nothing_else() -> None:
    text = deal_review_only(STARTER, "my deals.csv")
    found = tomllib.loads(text)
    assert set(found["workflows"]) == {"deal_review"}
    assert found["workflows"]["deal_review"]["include"] == ["owner"]
    assert set(found["agents"]) == {"deal_inspection"}
    assert found["agents"]["deal_inspection"]["settings"] == {"stale_days": 14}
    assert found["agents"]["deal_inspection"]["confidence"] == 0.5
    assert found["crm"]["relations"] == {"deal.hubspot_owner_id": "owner"}
    assert found["governance"]["fields"] == {"deal.amount": {"mode": "review"}}
    assert set(found["notify"]["channels"]) == {"sales"}
    assert "# Made by `revops init --from my deals.csv`" in text
    assert "# what is wrong with a deal" in text
    assert "# ---- what happens when ----" in text


def test_an_inspection_without_contacts_and_activities_is_sure_enough() -> None:
    """With a whole export and with almost nothing; else every finding would wait for a person."""
    asked = tomllib.loads(deal_review_only(STARTER, "deals.csv"))["agents"]["deal_inspection"]["confidence"]
    now = datetime(2026, 11, 25, tzinfo=UTC)
    for values in ({}, deal_of(HERE / "exports" / "hubspot.csv")):
        found = inspect(Snapshot("deal", "1", values, 1, now))
        assert found.confidence >= asked


def deal_of(export: Path) -> dict[str, Any]:
    table = intake_cmds.read(export)
    return intake(table, guess(table)).deals[0][1]


def test_a_name_of_a_file_cannot_write_into_the_configuration() -> None:
    text = deal_review_only(STARTER, 'x\n[redis]\nurl = "redis://evil"\n')
    assert tomllib.loads(text)["redis"] == {"url": "embedded"}


def test_a_starter_without_a_deal_review_is_told() -> None:
    with pytest.raises(RevopsError, match=r"no \[workflows.deal_review\]"):
        deal_review_only('timezone = "UTC"\n', "deals.csv")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_separators_are_found_out(make: Make, tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "dé als.csv"
    file.write_bytes("Deal ID;Deal name;Wert;Besitzer\n1;Café;1.234,50 €;Zoë\n".encode(encoding))
    make(file, "Besitzer=owner")
    assert deals(tmp_path / "made")["1"] == {
        "dealname": "Café",
        "amount": "1234.50",
        "deal_currency_code": "EUR",
        "hubspot_owner_id": "Zoë",
        "is_closed": False,
    }


def test_map_and_dates_are_heeded(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "deals.csv"
    file.write_text("Deal ID,Fällig,Höhe\n1,1/2/2026,5\n", encoding="utf-8")
    make(file, "Fällig=closedate", "Höhe=amount", dates="dmy")
    assert deals(tmp_path / "made")["1"] == {"closedate": "2026-02-01", "amount": "5", "is_closed": False}


@pytest.mark.parametrize("answer", ["", "y", "YES"])
def test_a_person_who_agrees_gets_it(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(terminal, "is_there", lambda: True)
    monkeypatch.setattr(terminal.Terminal, "line", lambda *_: answer)
    make(HERE / "exports" / "hubspot.csv", yes=False)
    assert (tmp_path / "made" / "config.toml").is_file()


def test_a_second_init_is_refused_before_anything_is_shown(
    make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make(HERE / "exports" / "hubspot.csv")
    capsys.readouterr()
    with pytest.raises(Refused, match="already has config"):
        make(HERE / "exports" / "hubspot.csv")
    assert capsys.readouterr().out == ""
    assert set(deals(tmp_path / "made")) == {"1001", "1002", "1003"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"deals.csv: line 1: no header"),
        (b"\n\n", r"deals.csv: line 1: no header"),
        (b"Deal ID,Amount\n", r"deals.csv: no deals in it"),
        (b"Deal ID,Amount\n,\n", r"deals.csv: no deals in it"),
        (b"1,Acme,500\n2,Beta,600\n", r"deals.csv: line 1: no column is known"),
        (b"PK\x03\x04rest", r"deals.csv: no CSV; save the sheet as CSV"),
        (b"Deal ID,Amount\n1\x00,5\n", r"deals.csv: no CSV"),
        (b'Deal ID,Amount\n1,"5\n2,6\n', r"deals.csv: line 3: not CSV"),
        (b"Deal ID,Amount\n1,5,7,8\n", r"deals.csv: no deals in it; line 2: 4 cells for 2 columns"),
    ],
)
def test_what_is_no_export_is_told_with_file_line_and_mend(
    make: Make, tmp_path: Path, content: bytes, problem: str
) -> None:
    file = tmp_path / "deals.csv"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=problem):
        make(file)
    assert not (tmp_path / "made").exists()


def test_a_file_that_is_not_there_and_a_map_that_is_none(make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        make(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="--map 'Amount': write column=field"):
        make(HERE / "exports" / "hubspot.csv", "Amount")


def test_columns_that_are_called_alike_and_rows_that_are_too_long_are_told(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deals.csv"
    file.write_text("Deal ID,Amount,Amount\n1,5,6\n2,7,8,9\n")
    make(file)
    shown = capsys.readouterr().out
    assert '- line 1: column "Amount" stands there again; it is read as "Amount_2"' in shown
    assert "- line 3: 4 cells for 3 columns; skipped" in shown
    assert deals(tmp_path / "made")["1"] == {"amount": "5", "amount_2": "6", "is_closed": False}


def test_hostile_text_is_shown_harmless(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deals.csv"
    file.write_text("Deal ID,Deal name,Own\x1b[31m\n1,\x1b[2J<script>,x\n")
    make(file)
    assert "\x1b" not in capsys.readouterr().out
    assert deals(tmp_path / "made")["1"]["dealname"] == "\x1b[2J<script>"


# ---- the command itself ----------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}


def test_without_a_terminal_it_shows_its_guess_and_the_command_and_asks_nothing(tmp_path: Path) -> None:
    (tmp_path / "my deals.csv").write_bytes((HERE / "exports" / "hubspot.csv").read_bytes())
    words = ["init", "out", "--from", "my deals.csv", "--map", "Deal owner=owner", "--dates", "mdy"]
    done = subprocess.run(
        [sys.executable, "-m", "revops_lite.cli", *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert "Deal Name" in done.stdout
    assert "dealname" in done.stdout
    assert "revops init out --from 'my deals.csv' --map 'Deal owner=owner' --dates mdy --yes" in done.stderr
    assert not (tmp_path / "out").exists()


def test_map_without_an_export_is_refused(tmp_path: Path) -> None:
    words = ["init", "out", "--map", "a=b", "--yes"]
    done = subprocess.run(
        [sys.executable, "-m", "revops_lite.cli", *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "add --from DEALS.csv" in done.stderr
    assert not (tmp_path / "out").exists()


def test_on_a_terminal_it_asks_once_and_no_makes_nothing(tmp_path: Path) -> None:
    export = str(HERE / "exports" / "hubspot.csv")
    words = ["-m", "revops_lite.cli", "init", "out", "--from", export]
    child = pexpect.spawn(sys.executable, words, cwd=str(tmp_path), env=environment(), encoding="utf-8", timeout=30)
    child.expect_exact("Is that right? [Y/n] ")
    child.sendline("n")
    child.expect_exact("nothing was made")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert not (tmp_path / "out").exists()
