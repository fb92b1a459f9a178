"""Deal inspection: each finding with its evidence, raised and cleared."""

from __future__ import annotations

import csv
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent_snapshots import snap, values_of
from agents.deal_inspection import inspect
from revops_lite import Flag, Skip

DATA = Path(os.environ.get("REVOPS_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "leadforge"
APRIL = datetime(2024, 4, 1, tzinfo=UTC)
PEOPLE = [snap("contact:1", {"hs_buying_role": "DECISION_MAKER"}), snap("contact:2", {"hs_buying_role": "champion"})]
GOOD = {
    "dealname": "Acme",
    "dealstage": "proposal",
    "amount": "1000",
    "closedate": "2026-07-01",
    "createdate": "2026-06-01",
    "hs_next_step": "call",
    "notes_last_updated": "2026-06-14",
    "hs_v2_date_entered_current_stage": "2026-06-05",
}


def findings(change: dict[str, Any], contacts: Any = PEOPLE, **settings: Any) -> dict[str, str]:
    asked = snap("deal:1", GOOD | change, related={"contacts": contacts, "activities": []}, settings=settings)
    return {flag.code: flag.detail for flag in inspect(asked).flags}


def test_a_deal_in_order_has_no_finding_and_its_old_ones_are_cleared() -> None:
    flags = (Flag("stale_activity"), Flag("amount_changed"), Flag("somebody_elses"))
    found = inspect(snap("deal:1", GOOD, related={"contacts": PEOPLE, "activities": []}, flags=flags))
    assert values_of(found)["revops_risk_level"] == "low"
    assert found.clears == ["stale_activity"]  # without a history nobody knows about the amount


@pytest.mark.parametrize(
    ("change", "code", "evidence"),
    [
        ({"hs_next_step": " "}, "no_next_step", "no next step"),
        ({"notes_last_updated": "2026-05-31"}, "stale_activity", "2026-05-31, 15 days ago"),
        ({"closedate": "2026-06-14"}, "slipped_close", "2026-06-14 is past"),
        ({"close_date_moves": 2}, "slipped_close", "moved back 2 times"),
        ({"hs_v2_date_entered_current_stage": "2026-05-01"}, "stage_age", "45 days in proposal"),
        ({"amount": ""}, "amount_missing", "empty"),
        ({"amount": "0"}, "amount_missing", "0"),
        (
            {"amount_history": [{"value": "500", "timestamp": "2026-06-01"}]},
            "amount_changed",
            "500 became 1,000 within 30 days",
        ),
    ],
)
def test_a_finding_tells_its_evidence(change: dict[str, Any], code: str, evidence: str) -> None:
    found = findings(change, stage_age_days={"proposal": 30})
    assert list(found) == [code]
    assert evidence in found[code]


def test_one_contact_without_a_role_is_single_threaded_and_lacks_both_roles() -> None:
    found = findings({}, [snap("contact:1", {})])
    assert found == {
        "single_threaded": "1 of at least 2 contacts",
        "missing_roles": "no decision maker and no champion",
    }


def test_the_day_of_the_threshold_is_not_stale_yet() -> None:
    assert findings({"notes_last_updated": "2026-06-01T12:00:00Z"}) == {}


def test_what_is_not_included_is_neither_raised_nor_cleared() -> None:
    found = inspect(snap("deal:1", GOOD, flags=(Flag("single_threaded"),)))
    assert (list(found.flags), list(found.clears)) == ([], [])
    assert "single_threaded" in found.because


def test_the_limit_of_a_stage_comes_from_the_won_deals_of_the_file(tmp_path: Path) -> None:
    rows = [f"closedwon,{days}" for days in range(1, 31)] + ["closedlost,900"] * 30
    (tmp_path / "closed.csv").write_text("dealstage,days_in_proposal\n" + "\n".join(rows))
    path = str(tmp_path / "closed.csv")
    assert findings({"hs_v2_date_entered_current_stage": "2026-05-23"}, closed_deals=path) == {}
    late = findings({"hs_v2_date_entered_current_stage": "2026-05-20"}, closed_deals=path)
    assert late == {"stage_age": "26 days in proposal; 80% of won deals took 24 or less"}


def test_other_crms_fields_are_mapped_by_the_settings() -> None:
    asked = snap("deal:1", {"worth": "5", "next": "x"}, settings={"fields": {"amount": "worth", "next_step": "next"}})
    assert list(inspect(asked).flags) == []


def test_a_mistaken_field_name_is_told_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="there is no 'amuont'; it may name activity"):
        inspect(snap("deal:1", GOOD, settings={"fields": {"amuont": "worth"}}))


def test_a_closed_deal_is_left_alone() -> None:
    with pytest.raises(Skip, match="closed"):
        inspect(snap("deal:1", GOOD | {"dealstage": "closedwon"}))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data set at {DATA}")
def test_opportunities_of_another_crm_are_told_apart_by_stage_age() -> None:
    with (DATA / "opportunities.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    codes: Counter[str] = Counter()
    open_ = [row for row in rows if not row["close_outcome"]]
    for row in open_:
        deal = snap("opportunity:1", row, now=APRIL, settings={"closed_deals": str(DATA / "opportunities.csv")})
        codes.update(flag.code for flag in inspect(deal).flags)
    assert codes["no_next_step"] == len(open_)
    assert 0 < codes["stage_age"] < len(open_)
    assert codes["amount_missing"] == 0
