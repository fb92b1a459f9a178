"""What documents leave out is what the checker, which does not know the program, puts in again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from msgspec import NODEFAULT, Struct, json
from msgspec.structs import fields

from revops_lite.models import FieldValue, Run, Step, Write

CHAOS = Path(__file__).parents[1] / "chaos"


@pytest.mark.parametrize(("noun", "table"), [(Run, "RUN"), (Step, "STEP"), (Write, "WRITE"), (FieldValue, "FIELD")])
def test_the_checker_knows_every_default(noun: type[Struct], table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(CHAOS)])
    import evidence

    defaults = {field.encode_name: field.default for field in fields(noun) if field.default is not NODEFAULT}
    made = {f.encode_name: f.default_factory() for f in fields(noun) if f.default_factory is not NODEFAULT}
    assert json.decode(json.encode(defaults | made)) == getattr(evidence, table)
