"""Extracts: records of the CRM as a file that any CSV reader gives back as they were."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revops_lite.crm.extract import PAGE, extract
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmUnavailable

HOSTILE = [
    "a,b",
    'say "no"',
    "two\nlines",
    "two\r\nlines",
    "\r",
    " ünï☃ ",
    "=1+1",
    "'",
    "\x00",
    "\u2028",
    "true",
    "1",
    ";",
]


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[SqliteCrm]:
    crm = SqliteCrm(tmp_path / "crm.sqlite3", {})
    yield crm
    crm.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "extracts" / "deals.csv"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_any_value_comes_back_as_it_was(crm: SqliteCrm, path: Path) -> None:
    values: list[Any] = [*HOSTILE, 5, 1.5, True, ["a,b", "ü"], {"deep": [1, None]}]
    crm.put("deal", [(f"d{n:03}", {"note": value, "after": "x"}) for n, value in enumerate(values)], "test")
    assert extract(crm, "deal", {}, path) == len(values)
    told = [row["note"] for row in rows(path)]
    assert told[: len(HOSTILE)] == HOSTILE
    assert [json.loads(text) for text in told[len(HOSTILE) :]] == values[len(HOSTILE) :]
    assert {row["after"] for row in rows(path)} == {"x"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_comes_back_as_it_was(crm: SqliteCrm, path: Path, texts: list[str]) -> None:
    crm.put("note", [(str(n), {"text": text}) for n, text in enumerate(texts)], "test")
    extract(crm, "note", {}, path)
    found = {row["id"]: row["text"] for row in rows(path)}
    assert [found[str(n)] for n in range(len(texts))] == texts


def test_every_field_that_any_record_has_is_a_column_and_none_is_the_id_twice(crm: SqliteCrm, path: Path) -> None:
    crm.put("deal", [("1", {"a": 1}), ("2", {"id": "another", "b": 2})], "test")
    extract(crm, "deal", {}, path)
    assert [(row["id"], row["a"], row["b"]) for row in rows(path)] == [("1", "1", ""), ("2", "", "2")]


def test_only_what_fits_is_in_it_over_many_pages(crm: SqliteCrm, path: Path) -> None:
    crm.put("deal", [(str(n), {"is_closed": n % 2 == 0}) for n in range(PAGE * 2 + 2)], "test")
    crm.put("lead", [("1", {"is_closed": True})], "test")
    assert extract(crm, "deal", {"is_closed": True}, path) == PAGE + 1
    assert len({row["id"] for row in rows(path)}) == PAGE + 1


def test_nothing_is_a_file_with_a_header(crm: SqliteCrm, path: Path) -> None:
    assert extract(crm, "deal", {}, path) == 0
    assert path.read_text().strip() == "id"


def test_a_file_that_would_not_change_is_left_alone(crm: SqliteCrm, path: Path) -> None:
    crm.put("deal", [("1", {"a": 1})], "test")
    extract(crm, "deal", {}, path)
    before = path.stat()
    extract(crm, "deal", {}, path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    crm.put("deal", [("1", {"a": 2})], "test")
    extract(crm, "deal", {}, path)
    assert path.stat().st_ino != before.st_ino, "replaced whole: whoever reads the old one reads it to its end"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_nobody_else_may_read_it_whatever_lay_there_before(crm: SqliteCrm, path: Path) -> None:
    path.parent.mkdir()
    for left_over in (path, path.with_name(f".{path.name}.new")):
        left_over.write_text("half a file")
        left_over.chmod(0o644)
    extract(crm, "deal", {}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_in_its_place_is_not_followed(crm: SqliteCrm, path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.parent.mkdir()
    path.with_name(f".{path.name}.new").symlink_to(victim)
    path.symlink_to(victim)
    extract(crm, "deal", {}, path)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()


def test_a_crm_that_goes_away_in_the_middle_leaves_the_old_file(
    crm: SqliteCrm, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.put("deal", [("1", {"a": 1})], "test")
    extract(crm, "deal", {}, path)
    before = path.read_bytes()
    sweep = crm.sweep

    def breaks(kind: str, where: Any, page: int) -> Iterator[Any]:
        yield from sweep(kind, where, page)
        raise CrmUnavailable("503")

    monkeypatch.setattr(crm, "sweep", breaks)
    with pytest.raises(CrmUnavailable):
        extract(crm, "deal", {}, path)
    assert path.read_bytes() == before
