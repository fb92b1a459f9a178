"""`revops crm`: the embedded CRM by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from revops_lite.cli import crm_cmds
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmRefused, NotFound, UsageError


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[SqliteCrm]:
    crm = SqliteCrm(tmp_path / "crm.sqlite3", {}, clock=lambda: 1_750_000_000.0)
    yield crm
    crm.close()


def test_an_import_reports_what_it_did(crm: SqliteCrm, tmp_path: Path) -> None:
    file = tmp_path / "deals.csv"
    file.write_text("Deal ID,Amount\n1,5\n,6\n")
    data = crm_cmds.import_(crm, file, "deal", "Deal ID", ["Amount=amount"], actor="ann")
    assert json.loads(json.dumps(data)) == {
        "schema": 1,
        "file": str(file),
        "kind": "deal",
        "created": 1,
        "updated": 0,
        "unchanged": 0,
        "skipped": 1,
        "problems": ["line 3: no id; skipped"],
    }
    assert crm.read(["deal:1"])["deal:1"].values == {"amount": 5}


@pytest.mark.parametrize("maps", [["Amount"], ["=x"], ["Amount=a", "Amount=b"]])
def test_a_mapping_needs_a_column_and_a_field(crm: SqliteCrm, tmp_path: Path, maps: list[str]) -> None:
    with pytest.raises(UsageError, match="--map"):
        crm_cmds.import_(crm, tmp_path / "deals.csv", "deal", "id", maps)


def test_an_edit_is_a_persons(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"a": 1, "b": 1}, source="import")
    data = crm_cmds.set_(crm, "lead:1", ["a=2", "b=1"])
    assert data == {"schema": 1, "record": "lead:1", "created": False, "changed": {"a": 2}}
    newest = crm.history("lead:1", 1)[0]
    assert (newest["source"], newest["actor"]) == ("person", crm_cmds.user())
    assert set(crm.read(["lead:1"])["lead:1"].edited) == {"a"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ("Acme = Co", "Acme = Co"),
        ("", ""),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("007", "007"),
        ("{", "{"),
    ],
)
def test_a_value_is_json_or_else_text(crm: SqliteCrm, text: str, value: object) -> None:
    crm.create("lead", "1", {"field": "old"})
    assert crm_cmds.set_(crm, "lead:1", [f"field={text}"])["changed"] == {"field": value}
    assert crm.read(["lead:1"])["lead:1"].values["field"] == value


def test_only_who_asks_for_it_creates_a_record(crm: SqliteCrm) -> None:
    with pytest.raises(NotFound, match=r"lead:1: .*--create"):
        crm_cmds.set_(crm, "lead:1", ["a=1"])
    data = crm_cmds.set_(crm, "lead:1", ["a=1"], actor="ann", create=True)
    assert data == {"schema": 1, "record": "lead:1", "created": True, "changed": {"a": 1}}
    ((change,), _) = crm.changes(None, 10)
    assert (change.created, change.actor, change.fields) == (True, "ann", {"a": 1})


def test_an_archived_record_is_not_created_again(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {})
    crm.archive("lead:1")
    with pytest.raises(CrmRefused, match="archived"):
        crm_cmds.set_(crm, "lead:1", ["a=1"], create=True)


@pytest.mark.parametrize(
    ("record", "assignments"), [("lead", ["a=1"]), (":1", ["a=1"]), ("lead:1", []), ("lead:1", ["a"])]
)
def test_what_cannot_be_understood_is_refused(crm: SqliteCrm, record: str, assignments: list[str]) -> None:
    crm.create("lead", "1", {})
    with pytest.raises(UsageError):
        crm_cmds.set_(crm, record, assignments)


def test_a_view_has_values_times_edits_and_changes(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"name": "Ann"}, actor="bob", source="import")
    crm.edit("lead:1", {"score": 5}, "ann")
    data = crm_cmds.view(crm, "lead:1")
    changes = data.pop("changes")
    assert json.loads(json.dumps(data)) == {
        "schema": 1,
        "record": "lead:1",
        "kind": "lead",
        "id": "1",
        "values": {"name": "Ann", "score": 5},
        "created_at": "2025-06-15T15:06:40.000Z",
        "updated_at": "2025-06-15T15:06:40.001Z",
        "edited": {"score": "2025-06-15T15:06:40.001Z"},
    }
    assert [(one["field"], one["actor"]) for one in changes] == [("score", "ann"), ("name", "bob")]
    lines = crm_cmds.shown({**data, "changes": changes})
    assert lines[1:] == ["  name   Ann", "  score  5   (a person, 2025-06-15T15:06:40.001Z)"]


def test_a_view_does_not_let_a_value_move_the_cursor(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"name": "\x1b[2J\u202egnp.exe"})
    assert crm_cmds.shown(crm_cmds.view(crm, "lead:1"))[1].startswith("  name  \\x1b[2J\\u202egnp.exe")


def test_what_is_not_there_cannot_be_viewed(crm: SqliteCrm) -> None:
    with pytest.raises(NotFound, match="lead:9"):
        crm_cmds.view(crm, "lead:9")
    with pytest.raises(UsageError, match="KIND:ID"):
        crm_cmds.view(crm, "lead")


def test_an_export_says_how_many(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"name": "Ann"})
    out = io.StringIO()
    assert crm_cmds.export(crm, "lead", out) == {"schema": 1, "kind": "lead", "exported": 1}
    assert out.getvalue() == "id,name\n1,Ann\n"


def test_without_a_kind_everything_is_exported_with_its_kind(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"name": "Ann"})
    crm.create("company", "7", {"name": "Acme", "size": 12})
    out = io.StringIO()
    assert crm_cmds.export(crm, None, out)["exported"] == 2
    assert out.getvalue() == "kind,id,name,size\ncompany,7,Acme,12\nlead,1,Ann,\n"
    crm.archive("company:7")
    out = io.StringIO()
    crm_cmds.export(crm, None, out)
    assert out.getvalue() == "id,name\n1,Ann\n"
