"""What leaves the house: sensitive values masked, spreadsheets unharmed."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from revops_lite.audit.export import COLUMNS, MASK, masked, write_csv, write_jsonl
from revops_lite.models import AuditEntry


def sensitive(name: str) -> bool:
    return name == "company.annualrevenue"


def shown(**facts: Any) -> dict[str, Any]:
    entry = AuditEntry(**{"at": 0.0, "what": "write.applied", "who": "enrichment", "record": "company:1", **facts})
    return {**masked(entry, sensitive), "seq": 1, "id": "1-0"}


def test_values_of_a_sensitive_field_are_masked() -> None:
    row = shown(field="annualrevenue", before=1, after="12000000")
    assert (row["before"], row["after"]) == (MASK, MASK)


def test_that_there_was_no_value_is_no_secret() -> None:
    assert shown(field="annualrevenue", before=None, after=5)["before"] is None


def test_other_fields_and_other_kinds_stay() -> None:
    assert shown(field="industry", before="a", after="b")["after"] == "b"
    assert shown(record="deal:1", field="annualrevenue", after="b")["after"] == "b"


def test_among_several_values_only_the_sensitive_ones_are_masked() -> None:
    row = shown(what="write.sending", after={"annualrevenue": 12, "industry": "IT"})
    assert row["after"] == {"annualrevenue": MASK, "industry": "IT"}


def test_a_masked_value_is_not_told_by_the_note_beside_it() -> None:
    row = shown(field="annualrevenue", after="12000000", note="12000000 is what the registry says", rule="was 12000000")
    assert "12000000" not in json.dumps(row)


def test_an_entry_without_a_record_is_exported_as_it_is() -> None:
    assert shown(record=None, what="controller.started", after={"annualrevenue": 1})["after"] == {"annualrevenue": 1}


def test_no_cell_is_a_formula() -> None:
    out = io.StringIO()
    assert write_csv(out, [shown(field="name", after="=cmd|' /C calc'!A0", note="a\nb\x1b[2J")]) == 1
    (row,) = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
    assert list(row) == list(COLUMNS)
    assert row["after"].startswith("'=")
    assert "\x1b" not in out.getvalue()
    assert row["at"] == "1970-01-01T00:00:00.000Z"


def test_a_line_of_json_can_be_read_back() -> None:
    out = io.StringIO()
    row = shown(field="name", before="ä\u202e", after={"a": [1, None]})
    assert write_jsonl(out, [row, row]) == 2
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [row, row]
