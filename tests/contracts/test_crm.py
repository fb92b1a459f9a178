"""The CRM's contract, kept by the embedded CRM and by the fake that other tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_contract import RELATIONS, Clock, CrmContract
from memory_crm import MemoryCrm
from revops_lite.crm.none import NoCrm
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import CrmRefused
from revops_lite.ports import BatchCrm, Crm


class TestSqliteCrm(CrmContract):
    @pytest.fixture
    def crm(self, tmp_path: Path) -> Iterator[SqliteCrm]:
        crm = SqliteCrm(tmp_path / "crm.sqlite3", RELATIONS, clock=Clock())
        kept: BatchCrm = crm  # mypy's word that it is one
        yield crm
        kept.close()


class TestMemoryCrm(CrmContract):
    @pytest.fixture
    def crm(self) -> Any:
        return MemoryCrm(RELATIONS, Clock())


def test_without_a_crm_nothing_is_held_and_nothing_can_be_written() -> None:
    crm: Crm = NoCrm()
    assert crm.read(["lead:1"]) == {}
    assert crm.related(["lead:1"], ["company"]) == {"lead:1": {"company": ()}}
    assert crm.changes(None, 10)[0] == []
    assert list(crm.sweep("lead", {}, 10)) == []
    assert crm.applied("lead:1", "w1") is None
    with pytest.raises(CrmRefused, match="no CRM"):
        crm.write("lead:1", {}, {}, "w1", "x")
