"""What the embedded CRM promises as a file: to other processes, to other programs, and when things go wrong."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from revops_lite.crm import relations
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import ConfigError, CrmConflict, CrmRefused, CrmUnavailable, NotFound
from revops_lite.ports import CrmCall

ROOT = Path(__file__).parents[2]
RELATIONS = {"lead.company_id": "company", "contact.company_id": "company"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "crm.sqlite3"


@pytest.fixture
def crm(path: Path) -> Iterator[SqliteCrm]:
    crm = SqliteCrm(path, RELATIONS, patience=0.2)
    yield crm
    crm.close()


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def child(script: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


# ---- the file itself


def test_only_its_owner_may_read_it(crm: SqliteCrm, path: Path) -> None:
    crm.create("lead", "1", {"a": 1})
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_it_testifies_every_field_with_before_and_after(crm: SqliteCrm, path: Path) -> None:
    crm.create("lead", "1", {"a": 1}, actor="bob", source="import")
    crm.write("lead:1", {"a": 2, "b": "x"}, {"a": 1}, "w1", "enrichment")
    crm.edit("lead:1", {"a": None, "b": "x"}, "ann")
    rows = query(path, "SELECT kind, id, field, before, after, actor, source, write_id FROM changes ORDER BY seq")
    assert rows == [
        ("lead", "1", "a", "null", "1", "bob", "import", None),
        ("lead", "1", "a", "1", "2", "enrichment", "revops", "w1"),
        ("lead", "1", "b", "null", '"x"', "enrichment", "revops", "w1"),
        ("lead", "1", "a", "2", "null", "ann", "person", None),
    ]
    ((fields, archived),) = query(path, "SELECT fields, archived FROM records")
    assert (json.loads(str(fields)), archived) == ({"b": "x"}, 0)


def test_its_times_are_rfc_3339_in_utc(path: Path) -> None:
    crm = SqliteCrm(path, {}, clock=lambda: 1_750_000_000.1236)
    crm.create("lead", "1", {"a": 1})
    crm.close()
    assert query(path, "SELECT created_at, updated_at FROM records") == [("2025-06-15T15:06:40.124Z",) * 2]


def test_two_changes_of_a_record_never_carry_the_same_time(path: Path) -> None:
    crm = SqliteCrm(path, {}, clock=lambda: 1_750_000_000.0)
    crm.create("lead", "1", {"a": 0})
    for number in range(1, 4):
        crm.edit("lead:1", {"a": number}, "ann")
    changes, _ = crm.changes(None, 100)
    crm.close()
    assert [one.fields["a"] for one in changes] == [0, 1, 2, 3]
    assert [round(one.at - changes[0].at, 3) for one in changes] == [0.0, 0.001, 0.002, 0.003]


def test_what_was_written_is_there_after_closing_and_opening(crm: SqliteCrm, path: Path) -> None:
    crm.create("lead", "1", {"a": 1})
    _, cursor = crm.changes(None, 10)
    crm.close()
    again = SqliteCrm(path, {})
    assert again.read(["lead:1"])["lead:1"].values == {"a": 1}
    assert again.changes(cursor, 10) == ([], cursor)
    again.close()


def test_a_new_file_in_its_place_is_read_from_its_beginning_under_new_names(tmp_path: Path) -> None:
    keys, cursor = [], None
    for name in ("old", "new"):
        crm = SqliteCrm(tmp_path / name, {})
        crm.create("lead", "1", {"a": 1})
        ((change,), cursor) = crm.changes(cursor, 10)
        keys.append(change.key)
        crm.close()
    assert keys[0] != keys[1]


def test_another_program_may_write_into_the_file(crm: SqliteCrm, path: Path) -> None:
    crm.create("company", "7", {})
    _, cursor = crm.changes(None, 10)
    query(
        path,
        "INSERT INTO records (kind, id, fields, created_at, updated_at)"
        " VALUES ('lead', '1', '{\"company_id\": \"7\"}', '2026-01-01 10:00:00', '2026-01-01T12:00:00+02:00')",
    )
    query(
        path,
        "INSERT INTO changes (kind, id, field, before, after, actor, source, at)"
        " VALUES ('lead', '1', 'company_id', NULL, '\"7\"', 'ann', 'person', '2026-01-01 10:00:00')",
    )
    found = crm.read(["lead:1"])["lead:1"]
    assert found.created_at == found.updated_at == found.edited["company_id"] == 1_767_261_600.0
    assert crm.related(["company:7"], ["leads"]) == {"company:7": {"leads": ("lead:1",)}}
    ((change,), _) = crm.changes(cursor, 10)
    assert (change.created, change.fields, change.actor) == (True, {"company_id": "7"}, "ann")


# ---- speed that does not come from luck


def test_relations_and_edits_are_found_by_index(crm: SqliteCrm, path: Path) -> None:
    crm.create("company", "7", {})
    db = sqlite3.connect(path, isolation_level=None)
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    parsed = relations.parse(RELATIONS)
    relations.follow(db, parsed, "lead", ["1"], "company")
    relations.follow(db, parsed, "company", ["7"], "contacts")
    db.set_trace_callback(None)
    plans = [row[3] for sql in asked for row in db.execute("EXPLAIN QUERY PLAN " + sql)]
    db.close()
    assert not [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan]
    assert any("related contact.company_id (kind=? AND <expr>=?)" in plan for plan in plans)


# ---- several processes

OPEN = """
import sys
from pathlib import Path
from revops_lite.crm.sqlite import SqliteCrm
SqliteCrm(Path(sys.argv[1]), {}).close()
"""

RACE = """
import sys
from pathlib import Path
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmConflict
crm, me = SqliteCrm(Path(sys.argv[1]), {}), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    try:
        crm.write(f"lead:{number}", {"winner": me}, {"winner": None}, f"{me}-{number}", me)
        print(number)
    except CrmConflict:
        pass
"""


def test_several_processes_may_make_the_file_at_once(path: Path) -> None:
    openers = [child(OPEN, path) for _ in range(4)]
    for opener in openers:
        opener.communicate()
    assert [opener.returncode for opener in openers] == [0, 0, 0, 0]


def test_of_two_processes_that_compare_and_set_exactly_one_wins(crm: SqliteCrm, path: Path) -> None:
    crm.put("lead", [(str(number), {"a": 1}) for number in range(100)], "me")
    racers = [child(RACE, path, name) for name in ("left", "right")]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    left, right = ({int(line) for line in racer.communicate()[0].split()} for racer in racers)
    assert left & right == set()
    assert left | right == set(range(100))
    standing = {one.id for (one,) in crm.sweep("lead", {"winner": "left"}, 1)}
    assert standing == {str(number) for number in left}


HANG = """
import sys, time
from pathlib import Path
from revops_lite.crm import sqlite_file
from revops_lite.crm.sqlite import SqliteCrm
crm = SqliteCrm(Path(sys.argv[1]), {})
commit = sqlite_file.SqliteFile._commit
def hang(self, db):
    if sys.argv[2] == "after":
        commit(self, db)
    print("now", flush=True)
    time.sleep(3600)
sqlite_file.SqliteFile._commit = hang
crm.write("lead:1", {f"f{n}": "new" for n in range(200)}, {"f0": "old"}, "w1", "enrichment")
"""


@pytest.mark.parametrize(("moment", "value", "applied"), [("before", "old", False), ("after", "new", True)])
def test_a_writer_killed_at_the_commit_leaves_all_fields_or_none(
    crm: SqliteCrm, path: Path, moment: str, value: str, applied: bool
) -> None:
    crm.create("lead", "1", {f"f{number}": "old" for number in range(200)})
    writer = child(HANG, path, moment)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "now\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert set(crm.read(["lead:1"])["lead:1"].values.values()) == {value}
    assert crm.applied("lead:1", "w1") is applied
    crm.write("lead:1", {"f0": "ours"}, {"f0": value}, "w2", "enrichment")  # the dead hold no lock


BUSY = """
import sys
from pathlib import Path
from revops_lite.crm.sqlite import SqliteCrm
crm, n = SqliteCrm(Path(sys.argv[1]), {}), 0
while True:
    n += 1
    crm.write("lead:1", {f"f{f}": n for f in range(300)}, {}, f"{sys.argv[2]}-{n}", "enrichment")
    print(n, flush=True)
"""


def test_a_writer_killed_anywhere_never_leaves_half_a_write(crm: SqliteCrm, path: Path) -> None:
    crm.create("lead", "1", {"f0": 0})
    for life in range(4):
        writer = child(BUSY, path, life)
        assert writer.stdout is not None
        for _ in range(3 + life):
            assert writer.stdout.readline()
        writer.kill()
        told = writer.communicate()[0].split()
        values = crm.read(["lead:1"])["lead:1"].values
        assert len(set(values.values())) == 1
        assert values["f0"] >= int(told[-1] if told else 3 + life)
    sizes = query(path, "SELECT DISTINCT count(*) FROM changes WHERE write_id IS NOT NULL GROUP BY write_id")
    assert sizes == [(300,)]


# ---- what refuses, and what it says


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CrmUnavailable, match=r"file/crm\.sqlite3: cannot be made.*\[crm\] path"):
        SqliteCrm(tmp_path / "file" / "crm.sqlite3", {})


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(CrmUnavailable, match="grant this user the right"):
        SqliteCrm(tmp_path, {})


NOBODY = """
import os, sys
from pathlib import Path
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmUnavailable
os.chdir(sys.argv[1])  # kept open, whatever the folders above allow
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    SqliteCrm(Path("crm.sqlite3"), {})
except CrmUnavailable as error:
    print(error)
"""


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    assert child(NOBODY, tmp_path).communicate()[0].startswith("crm.sqlite3: cannot be made: Permission denied; set")


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_file_that_may_not_be_opened_is_told(crm: SqliteCrm, path: Path, mode: int) -> None:
    crm.close()
    path.chmod(mode)
    path.parent.chmod(0o555)
    said = child(NOBODY, path.parent).communicate()[0]
    path.parent.chmod(0o700)
    assert said.startswith("crm.sqlite3: it, or its folder, may not be")
    assert "grant this user the right" in said


def test_a_file_that_is_no_database_is_told_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "crm.sqlite3"
    file.write_text("id,name\n" * 1000)
    with pytest.raises(CrmUnavailable, match="no SQLite database; set"):
        SqliteCrm(file, {})
    assert file.read_text() == "id,name\n" * 1000


def test_a_damaged_file_is_told(crm: SqliteCrm, path: Path) -> None:
    crm.put("lead", [(str(number), {"text": "x" * 500}) for number in range(500)], "me")
    crm.close()
    query(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(CrmUnavailable, match="put a backup in its place"):
        _read_all(path)


def _read_all(path: Path) -> None:
    crm = SqliteCrm(path, {})
    try:
        list(crm.sweep("lead", {}, 100))
    finally:
        crm.close()


def test_a_file_of_a_newer_version_is_left_alone(crm: SqliteCrm, path: Path) -> None:
    crm.close()
    query(path, "PRAGMA user_version = 99")
    with pytest.raises(CrmUnavailable, match="newer revops-lite"):
        SqliteCrm(path, {})


def test_a_locked_file_is_not_written_and_can_be_later(crm: SqliteCrm, path: Path) -> None:
    crm.create("lead", "1", {"a": 1})
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CrmUnavailable, match="locked"):
        crm.write("lead:1", {"a": 2}, {"a": 1}, "w1", "x")
    calls = [CrmCall("lead:1", {"a": 2}, {"a": 1}, f"w{number}", "x") for number in range(2)]
    assert [type(one) for one in crm.write_many(calls)] == [CrmUnavailable, CrmUnavailable]
    assert crm.read(["lead:1"])["lead:1"].values == {"a": 1}
    other.execute("ROLLBACK")
    other.close()
    crm.write("lead:1", {"a": 2}, {"a": 1}, "w1", "x")
    assert crm.read(["lead:1"])["lead:1"].values == {"a": 2}


def test_after_closing_it_says_so(crm: SqliteCrm) -> None:
    crm.close()
    with pytest.raises(CrmUnavailable, match="closed"):
        crm.read(["lead:1"])


def test_damaged_fields_are_told_with_their_record(crm: SqliteCrm, path: Path) -> None:
    crm.create("lead", "1", {"a": 1})
    query(path, "UPDATE records SET fields = '[]'")
    with pytest.raises(CrmUnavailable, match="lead:1: its fields are no JSON object"):
        crm.read(["lead:1"])
    query(path, "UPDATE records SET fields = '{}', updated_at = 'yesterday'")
    with pytest.raises(CrmUnavailable, match="lead:1: 'yesterday' is no time"):
        crm.read(["lead:1"])


@pytest.mark.parametrize("depth", [600, 1500, 200_000])
def test_what_sqlite_could_not_read_is_refused(crm: SqliteCrm, depth: int) -> None:
    value: object = []
    for _ in range(depth):
        value = [value]
    crm.create("lead", "1", {"a": 1})
    with pytest.raises(CrmRefused, match="lead:1"):
        crm.write("lead:1", {"a": value}, {}, "w1", "x")
    with pytest.raises(CrmRefused, match="lead:2"):
        crm.create("lead", "2", {"a": value})
    assert crm.read(["lead:1", "lead:2"])["lead:1"].values == {"a": 1}


@pytest.mark.parametrize("values", [{"a": "\ud800"}, {"\ud800": 1}, {"a": {1, 2}}, {"": 1}])
def test_what_text_cannot_hold_is_refused(crm: SqliteCrm, values: dict[str, object]) -> None:
    crm.create("lead", "1", {"b": 1})
    with pytest.raises(CrmRefused):
        crm.write("lead:1", values, {}, "w1", "x")
    with pytest.raises(CrmRefused):
        crm.edit("lead:1", values, "ann")
    assert crm.read(["lead:1", "lead:\ud800"]).keys() == {"lead:1"}


@pytest.mark.parametrize("key", ["lead", ".x", "lead.", 'lead.a"b', "lead.a\n"])
def test_a_relation_that_makes_no_sense_is_refused(path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"\[crm.relations\]"):
        SqliteCrm(path, {key: "company"})


def test_a_relation_may_have_an_odd_field(path: Path) -> None:
    crm = SqliteCrm(path, {"lead.Company's ID.x": "company"})
    crm.create("company", "7", {})
    crm.create("lead", "1", {"Company's ID.x": "7"})
    assert crm.related(["company:7"], ["leads"]) == {"company:7": {"leads": ("lead:1",)}}
    crm.close()


# ---- the people's side


def test_a_record_is_created_once(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"a": 1})
    with pytest.raises(CrmRefused, match="lead:1"):
        crm.create("lead", "1", {"a": 2})
    crm.archive("lead:1")
    with pytest.raises(CrmRefused, match="archived"):
        crm.create("lead", "1", {"a": 2})


def test_an_edit_that_changes_nothing_leaves_no_trace(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"a": 1, "b": 1})
    assert crm.edit("lead:1", {"a": 1, "b": 2}, "ann") == {"b": 2}
    assert crm.edit("lead:1", {"a": 1, "b": 2}, "ann") == {}
    assert [one["field"] for one in crm.history("lead:1")] == ["b", "b", "a"]


def test_what_is_not_there_cannot_be_edited_or_archived(crm: SqliteCrm) -> None:
    with pytest.raises(NotFound, match="lead:1"):
        crm.edit("lead:1", {"a": 1}, "ann")
    with pytest.raises(NotFound, match="lead:1"):
        crm.archive("lead:1")


def test_an_edit_between_our_read_and_our_write_is_a_conflict(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"a": 1})
    seen = crm.read(["lead:1"])["lead:1"].values
    crm.edit("lead:1", {"a": 2}, "ann")
    with pytest.raises(CrmConflict) as caught:
        crm.write("lead:1", {"a": 3}, seen, "w1", "x")
    assert caught.value.current == {"a": 2}


def test_history_tells_the_newest_first(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"a": 1})
    crm.write("lead:1", {"a": None}, {"a": 1}, "w1", "enrichment")
    newest = crm.history("lead:1", limit=1)
    assert [(one["field"], one["before"], one["after"], one["write_id"]) for one in newest] == [("a", 1, None, "w1")]
