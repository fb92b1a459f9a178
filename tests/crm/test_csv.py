"""CSV in and out: what any CRM, or a spreadsheet, exports."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revops_lite.crm.imports import ImportResult, export_csv, import_csv
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import NotFound, UsageError

SHARED = Path(os.environ.get("REVOPS_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "leadforge"


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[SqliteCrm]:
    crm = SqliteCrm(tmp_path / "crm.sqlite3", {"lead.account_id": "company", "lead.contact_id": "contact"})
    yield crm
    crm.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export.csv"


def load(crm: SqliteCrm, file: Path, content: str | bytes, **mapping: str) -> ImportResult:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return import_csv(crm, file, "lead", "id", mapping, actor="ann")


def held(crm: SqliteCrm, record: str = "lead:1") -> dict[str, Any]:
    return dict(crm.read([record])[record].values)


def column(crm: SqliteCrm, file: Path, name: str, *cells: str) -> list[Any]:
    """What a column of these cells becomes."""
    load(crm, file, f"id,{name}\n" + "".join(f"{number},{cell}\n" for number, cell in enumerate(cells)))
    return [held(crm, f"lead:{number}").get(name) for number in range(len(cells))]


# ---- rows and records


def test_every_row_becomes_a_record(crm: SqliteCrm, file: Path) -> None:
    result = load(crm, file, "id,name,score\n1,Ann,5\n2,Bob,\n")
    assert result == ImportResult(created=2, updated=0, unchanged=0, skipped=0, problems=())
    assert (held(crm, "lead:1"), held(crm, "lead:2")) == ({"name": "Ann", "score": 5}, {"name": "Bob"})


def test_the_same_file_again_changes_nothing(crm: SqliteCrm, file: Path) -> None:
    content = "id,name,score,won\n1,Ann,5,true\n2,Bob,1.5,\n"
    load(crm, file, content)
    _, cursor = crm.changes(None, 100)
    again = load(crm, file, content)
    assert (again.created, again.updated, again.unchanged) == (0, 0, 2)
    assert crm.changes(cursor, 100) == ([], cursor)


def test_a_newer_file_changes_what_differs_and_an_empty_cell_changes_nothing(crm: SqliteCrm, file: Path) -> None:
    load(crm, file, "id,name,city\n1,Ann,Oslo\n2,Bob,Rome\n")
    _, cursor = crm.changes(None, 100)
    result = load(crm, file, "id,name,city\n1,Ann,Bergen\n2,,\n")
    assert (result.updated, result.unchanged) == (1, 1)
    ((change,), _) = crm.changes(cursor, 100)
    assert (change.record, change.fields, change.actor) == ("lead:1", {"city": "Bergen"}, "import")
    assert held(crm, "lead:2") == {"name": "Bob", "city": "Rome"}


def test_an_import_is_told_from_a_persons_edit(crm: SqliteCrm, file: Path) -> None:
    load(crm, file, "id,name\n1,Ann\n")
    assert crm.read(["lead:1"])["lead:1"].edited == {}
    assert [(one["actor"], one["source"]) for one in crm.history("lead:1")] == [("ann", "import")]


def test_more_rows_than_a_transaction_takes_all_arrive(crm: SqliteCrm, file: Path) -> None:
    result = load(crm, file, "id,n\n" + "".join(f"x{number},{number}\n" for number in range(2500)))
    assert result.created == 2500
    assert sum(len(page) for page in crm.sweep("lead", {}, 400)) == 2500


def test_a_column_may_become_another_field(crm: SqliteCrm, file: Path) -> None:
    load(crm, file, "id,Company Name,size\n1,Acme,5\n", id="lead_id", **{"Company Name": "company"})
    assert held(crm) == {"lead_id": "1", "company": "Acme", "size": 5}


# ---- types


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-20", "0"], [1, -20, 0]),
        (["1", "2.5", "-0.25", "1e3"], [1.0, 2.5, -0.25, 1000.0]),
        (["True", "false", "TRUE"], [True, False, True]),
        (["1", "two"], ["1", "two"]),
        (["01", "2"], ["01", "2"]),
        (["1", "true"], ["1", "true"]),
        (["1", "", "3"], [1, None, 3]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["nan", "inf"], ["nan", "inf"]),
        (["1e999", "1"], ["1e999", "1"]),
        (["٣", "1"], ["٣", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
        (["2024-01-04", "2024-01-04T10:00:00Z"], ["2024-01-04", "2024-01-04T10:00:00Z"]),
        (["$1M-$10M", "200-499"], ["$1M-$10M", "200-499"]),
        (["  x ", " 5"], ["x", "5"]),
    ],
)
def test_a_column_has_the_type_that_fits_all_of_it(
    crm: SqliteCrm, file: Path, cells: list[str], values: list[Any]
) -> None:
    found = column(crm, file, "field", *cells)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize(
    "name",
    ["owner_id", "AccountId", "Record ID", "phone", "Mobile Phone Number", "zip", "ZipCode", "postal_code", "Fax"],
)
def test_codes_stay_text(crm: SqliteCrm, file: Path, name: str) -> None:
    assert column(crm, file, name, "12345", "777") == ["12345", "777"]


@pytest.mark.parametrize("name", ["numberofemployees", "paid", "idle_days", "video_views"])
def test_names_that_only_look_like_codes_are_numbers(crm: SqliteCrm, file: Path, name: str) -> None:
    assert column(crm, file, name, "12345", "777") == [12345, 777]


# ---- the ways a file is written


@pytest.mark.parametrize(
    "content",
    [
        "id,name\n1,Zoë\n".encode(),
        "\ufeffid,name\n1,Zoë\n".encode(),
        "id,name\n1,Zoë\n".encode("cp1252"),
        "id,name\n1,Zoë\n".encode("utf-16"),
        b"id;name\r\n1;Zo\xc3\xab\r\n",
        b"id\tname\n1\tZo\xc3\xab\n",
        b"id|name\r1|Zo\xc3\xab\r",
        b"sep=;\r\nid;name\r\n1;Zo\xc3\xab\r\n",
        b'"id";"name"\n\n"1";"Zo\xc3\xab"',
        b" id , name \n1,Zo\xc3\xab\n,,\n",
    ],
)
def test_any_encoding_and_delimiter_is_read(crm: SqliteCrm, file: Path, content: bytes) -> None:
    load(crm, file, content)
    assert held(crm) == {"name": "Zoë"}


def test_the_delimiter_is_the_one_that_shows_the_id_column(crm: SqliteCrm, file: Path) -> None:
    load(crm, file, "id;Name, first, last\n1;Ann\n")
    assert held(crm) == {"Name, first, last": "Ann"}


def test_quotation_marks_and_line_ends_within_a_cell_are_kept(crm: SqliteCrm, file: Path) -> None:
    load(crm, file, 'id,note,city\n1,"he said ""hi""\nand left, late",Oslo\n2,x,y\n')
    assert held(crm) == {"note": 'he said "hi"\nand left, late', "city": "Oslo"}


def test_a_long_text_is_read(crm: SqliteCrm, file: Path) -> None:
    load(crm, file, f"id,note\n1,{'x' * 300_000}\n")
    assert len(held(crm)["note"]) == 300_000


# ---- problems


def test_a_row_that_cannot_be_taken_is_told_with_its_line_and_the_others_go_in(crm: SqliteCrm, file: Path) -> None:
    content = 'id,note\n1,"two\nlines"\n,no id\n1,again\n3,a,b\n4\n\n\x1b[2J,x\n5,e,,\n'
    result = load(crm, file, content)
    assert result.problems == (
        "line 4: no id; skipped",
        "line 5: id 1 stands in line 2 already; skipped",
        "line 6: 3 cells for 2 columns; skipped",
        "line 9: '\\x1b[2J' is no id; skipped",
    )
    assert (result.created, result.skipped) == (3, 4)
    assert (held(crm, "lead:1"), held(crm, "lead:4"), held(crm, "lead:5")) == (
        {"note": "two\nlines"},
        {},
        {"note": "e"},
    )


def test_a_header_that_stands_twice_is_told_and_both_are_kept(crm: SqliteCrm, file: Path) -> None:
    result = load(crm, file, "id,name,name,,name\n1,a,b,c,d\n")
    assert held(crm) == {"name": "a", "name_2": "b", "column_4": "c", "name_3": "d"}
    assert len(result.problems) == 2
    assert result.problems[0] == 'line 1: column "name" stands there again; it is read as "name_2"'
    assert result.skipped == 0


def test_an_archived_record_stays_so(crm: SqliteCrm, file: Path) -> None:
    crm.create("lead", "1", {"name": "Ann"})
    crm.archive("lead:1")
    result = load(crm, file, "id,name\n1,Bob\n2,Cid\n")
    assert (result.created, result.skipped) == (1, 1)
    assert result.problems == ("line 2: lead:1 is archived; skipped",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: no header"),
        (b"\n\n", "line 1: no header"),
        (b"lead_id,name\n1,a\n", 'no column "id"; did you mean "lead_id"'),
        (b"Name,Stage\na,b\n", 'no column "id"; it has Name, Stage'),
        (b'id,name\n1,a\n2,"b\n3,c\n', "line 4: not CSV"),
        (b'id,name\n1,"a" b\n', "line 2: not CSV"),
        (b"PK\x03\x04 sheet", "save the sheet as CSV"),
        (b"id,name\n1,\0\n", "save the sheet as CSV"),
        (b"id,name\n1,\x81\xff\n", "neither UTF-8 nor Windows-1252"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_before_anything_is_written(
    crm: SqliteCrm, file: Path, content: bytes, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        load(crm, file, content)
    assert str(file) in str(caught.value)
    assert crm.changes(None, 10)[0] == []


def test_a_file_that_is_not_there_is_told(crm: SqliteCrm, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.csv: no such file"):
        import_csv(crm, tmp_path / "gone.csv", "lead", "id")
    with pytest.raises(UsageError, match="cannot be read"):
        import_csv(crm, tmp_path, "lead", "id")


@pytest.mark.parametrize("mapping", [{"nme": "x"}, {"name": "stage"}, {"name": ""}])
def test_a_mapping_that_makes_no_sense_is_refused(crm: SqliteCrm, file: Path, mapping: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"export\.csv: "):
        load(crm, file, "id,name,stage\n1,a,b\n", **mapping)


@pytest.mark.parametrize("kind", ["", "a:b", "a.b", "a b", "a\n"])
def test_a_kind_is_one_word(crm: SqliteCrm, file: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="--kind"):
        import_csv(crm, file, kind, "id")


# ---- export


def exported(crm: SqliteCrm) -> str:
    out = io.StringIO()
    export_csv(crm, ["lead"], out)
    return out.getvalue()


def test_an_export_has_every_field_of_every_record(crm: SqliteCrm) -> None:
    crm.create("lead", "1", {"name": "Ann", "won": True})
    crm.create("lead", "2", {"score": 1.5, "tags": ["é", 1], "note": "a,b\nc"})
    crm.create("company", "1", {"name": "Acme"})
    assert exported(crm) == 'id,name,won,score,tags,note\n1,Ann,true,,,\n2,,,1.5,"[""é"", 1]","a,b\nc"\n'


@pytest.mark.parametrize("text", ["=1+1", "+49 30", "-x", "@sum", "\tx", "\rx"])
def test_text_that_a_spreadsheet_would_run_is_guarded(crm: SqliteCrm, text: str) -> None:
    crm.create("lead", "1", {"a": text, "b": -5, text: "x", "z": 1})
    header, row = exported(crm).replace("\r", "~").split("\n")[:2]
    guarded = "'" + text.replace("\r", "~")
    assert guarded in header
    assert guarded in row
    assert ",-5," in row


def test_what_was_exported_can_be_imported_and_changes_nothing(crm: SqliteCrm, file: Path) -> None:
    crm.create(
        "lead", "1", {"a": "=1+1", "b": "'=x", "c": "''", "d": "it's", "e": -5, "f": 0.5, "g": False, "zip": "01"}
    )
    result = load(crm, file, exported(crm))
    assert (result.unchanged, result.problems) == (1, ())


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n\t=+-@'"), min_size=1
).filter(lambda word: word == word.strip())


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(WORDS, min_size=1, max_size=5))
def test_any_text_survives_export_and_import(texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        crm, file = SqliteCrm(Path(folder) / "crm.sqlite3", {}), Path(folder) / "export.csv"
        crm.create("lead", "1", {f"phone{number}": text for number, text in enumerate(texts)})
        file.write_text(exported(crm), "utf-8", newline="")
        result = import_csv(crm, file, "lead", "id")
        crm.close()
    assert result == ImportResult(created=0, updated=0, unchanged=1, skipped=0, problems=())


# ---- real relational data


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared sample data is not here")
def test_a_real_crms_export_comes_in_with_its_relations(tmp_path: Path) -> None:
    links = {"lead.account_id": "company", "lead.contact_id": "contact", "contact.account_id": "company"}
    crm = SqliteCrm(tmp_path / "crm.sqlite3", links)
    sizes = {"accounts": ("company", 1500), "contacts": ("contact", 4200), "leads": ("lead", 500)}
    for name, (kind, size) in sizes.items():
        id_column = name.removesuffix("s") + "_id"
        result = import_csv(crm, SHARED / f"{name}.csv", kind, id_column)
        assert result == ImportResult(size, 0, 0, 0, ())
        assert import_csv(crm, SHARED / f"{name}.csv", kind, id_column) == ImportResult(0, 0, size, 0, ())
    leads = [one for page in crm.sweep("lead", {}, 100) for one in page]
    related = crm.related([one.record for one in leads], ["company", "contacts"])
    for lead in leads:
        assert lead.values["is_sql"] in (True, False)
        company, contact = f"company:{lead.values['account_id']}", f"contact:{lead.values['contact_id']}"
        assert related[lead.record] == {"company": (company,), "contacts": (contact,)}
        assert lead.record in crm.related([company], ["leads"])[company]["leads"]
    crm.close()
