"""Exports of several CRMs: which column is taken for what, and which deals are closed."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.cli.intake_cmds import read
from revops_lite.errors import UsageError
from revops_lite.intake import Intake, Table, guess, intake, shown, told

EXPORTS = Path(__file__).parent / "exports"


def table(text: str) -> Table:
    """Of the text itself, or of one of the exports."""
    if text.endswith(".csv"):
        return read(EXPORTS / text)
    header, *rows = csv.reader(io.StringIO(text))
    return Table("deals.csv", tuple(header), [(number, row) for number, row in enumerate(rows, start=2)])


def taken(text: str, mapping: dict[str, str] | None = None) -> tuple[dict[str, str], Intake]:
    deals = table(text)
    found = guess(deals, mapping)
    return {role: each.column for role, each in found.found.items()}, intake(deals, found)


def values(found: Intake) -> list[dict[str, Any]]:
    return [each for _, each in found.deals]


def test_hubspot() -> None:
    columns, found = taken("hubspot.csv")
    assert columns == {
        "id": "Record ID",
        "name": "Deal Name",
        "stage": "Deal Stage",
        "closed flag": "Is Closed (numeric)",
        "amount": "Amount",
        "close date": "Close Date",
        "create date": "Create Date",
        "last activity": "Last Activity Date",
        "next step": "Next step",
        "owner": "Deal owner",
    }
    assert found.deals[0] == (
        "1001",
        {
            "dealname": "Acme rollout",
            "dealstage": "Proposal",
            "amount": "12000.50",
            "closedate": "2026-12-31T10:00:00",
            "createdate": "2026-03-02T09:30:00",
            "hubspot_owner_id": "Ana-Ruiz",
            "notes_last_updated": "2026-11-20T08:00:00",
            "hs_next_step": "Call the CFO",
            "is_closed_numeric": "0",
            "is_closed": False,
        },
    )
    assert [(each["is_closed"], each.get("close_outcome")) for each in values(found)[1:]] == [
        (True, "closedwon"),
        (True, "closedlost"),
    ]
    assert found.owners == {"Ana-Ruiz": "Ana Ruiz", "Ben-Cole": "Ben Cole"}


def test_salesforce() -> None:
    columns, found = taken("salesforce.csv")
    assert columns["closed flag"] == "Closed"
    assert columns["won flag"] == "Won"
    assert columns["company"] == "Account Name"
    assert columns["currency"] == "Amount Currency"
    assert [(each["is_closed"], each.get("close_outcome")) for each in values(found)] == [
        (False, None),
        (True, "closedwon"),
        (True, "closedlost"),
    ]
    first = values(found)[0]
    assert (first["amount"], first["deal_currency_code"]) == ("12000", "USD")
    assert (first["closedate"], first["createdate"]) == ("2026-12-31", "2026-03-02")


def test_pipedrive() -> None:
    columns, found = taken("pipedrive.csv")
    assert columns == {
        "id": "Deal - ID",
        "name": "Deal - Title",
        "stage": "Deal - Stage",
        "status": "Deal - Status",
        "amount": "Deal - Value",
        "currency": "Deal - Currency of Value",
        "close date": "Deal - Expected close date",
        "closed at": "Deal - Won time",
        "create date": "Deal - Deal created",
        "last activity": "Deal - Last activity date",
        "next step": "Deal - Next activity date",
        "owner": "Deal - Owner",
        "company": "Deal - Organization",
        "probability": "Deal - Probability",
    }
    assert [each["amount"] for each in values(found)] == ["12000.50", "5000", "7500"]
    assert found.states == {"open": 1, "won": 1, "lost": 1}


def test_zoho_day_first_and_with_the_currency_in_the_amount() -> None:
    _, found = taken("zoho.csv")
    first = values(found)[0]
    assert (first["closedate"], first["createdate"]) == ("2026-12-31", "2026-03-02T09:30:00")
    assert first["deal_currency_code"] == "USD"
    deals = table("zoho.csv")
    assert "the currency stands with the amounts: USD (3)" in told(deals, guess(deals), found)
    assert found.states == {"open": 1, "won": 1, "lost": 1}


def test_close() -> None:
    columns, found = taken("close.csv")
    assert (columns["id"], columns["stage"], columns["status"]) == ("id", "status_label", "status_type")
    assert columns["name"] == "lead_name"
    assert found.states == {"open": 1, "won": 1, "lost": 1}
    assert values(found)[0]["createdate"] == "2026-03-02T09:30:00+00:00"


def test_an_export_with_an_outcome() -> None:
    columns, found = taken("leadforge.csv")
    assert columns["amount"] == "estimated_acv"
    assert values(found)[0] == {
        "lead_id": "lead_000001",
        "createdate": "2024-01-12",
        "dealstage": "negotiation",
        "amount": "47173",
        "is_closed": False,
    }
    assert values(found)[1]["close_outcome"] == "closedwon"
    assert values(found)[1]["closed_at"] == "2024-03-01"
    assert not found.unclear


def test_a_homemade_list_without_ids_uses_the_names() -> None:
    columns, found = taken("deal,value,owner,phase\nAcme Corp,12k,Ana,talks\nBeta,€ 5.000,Ben,won\n")
    assert columns == {"name": "deal", "stage": "phase", "amount": "value", "owner": "owner"}
    assert [id_ for id_, _ in found.deals] == ["Acme-Corp", "Beta"]
    assert [(each["amount"], each.get("deal_currency_code")) for each in values(found)] == [
        ("12000", None),
        ("5000", "EUR"),
    ]
    assert found.states == {"open": 1, "won": 1}


def test_names_that_are_not_unique_leave_the_lines() -> None:
    _, found = taken("deal,value\nAcme,1\nAcme,2\n")
    assert [id_ for id_, _ in found.deals] == ["line-2", "line-3"]


def test_what_a_name_does_not_tell_the_contents_may() -> None:
    columns, found = taken(
        "ref,what for,so far,how much\nX-1,Acme,won,$5\nX-2,Beta,lost,$6\nX-3,Deal,talks,$7\n", {"what for": "name"}
    )
    assert columns == {"id": "ref", "name": "what for", "status": "so far", "amount": "how much"}
    assert found.states == {"open": 1, "won": 1, "lost": 1}


def test_a_lone_column_of_dates_is_the_close_date_unless_its_name_says_otherwise() -> None:
    assert taken("deal id,when\n1,2026-01-02\n2,2026-01-03\n")[0]["close date"] == "when"
    assert "close date" not in taken("deal id,last modified\n1,2026-01-02\n2,2026-01-03\n")[0]


def test_a_name_whose_contents_are_something_else_is_not_taken() -> None:
    columns, _ = taken("deal id,close date,amount\n1,maybe,lots\n2,later,more\n")
    assert columns == {"id": "deal id"}


def test_map_beats_every_guess_by_field_or_by_role() -> None:
    columns, found = taken("hubspot.csv", {"Create Date": "closedate", "Deal owner": "seller", "Next step": "company"})
    assert columns["close date"] == "Create Date"
    assert columns["company"] == "Next step"
    assert "next step" not in columns
    assert values(found)[0]["seller"] == "Ana Ruiz"
    assert values(found)[0]["close_date"] == "2026-12-31 10:00"


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"Amuont": "amount"}, 'no column "Amuont"; did you mean "Amount"'),
        ({"Amount": "amount", "Record ID": "amount"}, "two columns for amount"),
    ],
)
def test_a_wrong_map_is_told_with_the_mend(mapping: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError, match=f"hubspot.csv: --map: {problem}"):
        guess(table("hubspot.csv"), mapping)


def test_a_file_without_names_of_columns_is_refused() -> None:
    with pytest.raises(UsageError, match=r"deals.csv: line 1: no column is known .*--map COLUMN=FIELD"):
        guess(table("Acme,17,x\nBeta,18,y\n"))


def test_a_file_without_deals_is_refused() -> None:
    with pytest.raises(UsageError, match=r"deals.csv: no deals in it"):
        taken("deal id,amount\n")


def test_a_deal_without_id_and_one_that_comes_twice_are_skipped_with_their_line() -> None:
    rows = "".join(f"{number},5\n" for number in range(40))
    _, found = taken(f"deal id,amount\n{rows}7,6\n", {"deal id": "id"})
    assert len(found.deals) == 40
    assert found.skipped == ["line 42: id 7 stands in line 9 already; skipped"]
    _, found = taken("deal id,amount\n1,5\n,6\n", {"deal id": "id"})
    assert found.skipped == ["line 3: no id; skipped"]


@pytest.mark.parametrize(
    ("text", "states", "unclear"),
    [
        ("id,status\n1,open\n2,won\n3,lost\n4,\n", {"open": 2, "won": 1, "lost": 1}, set()),
        ("id,status\n1,parked\n2,won\n3,lost\n", {"open": 1, "won": 1, "lost": 1}, {2}),
        ("id,stage\n1,Proposal\n2,Closed\n3,\n4,Closed Won\n", {"open": 3, "won": 1}, {3, 4}),
        ("id,stage,is closed\n1,Signed,true\n2,Proposal,false\n", {"open": 1, "closed": 1}, set()),
        ("id,stage,status\n1,Closed Won,open\n2,Closed Won,lost\n", {"open": 2}, {2, 3}),
        ("id,stage,probability\n1,Signed,100%\n2,Gone,0\n3,Talks,40\n", {"won": 1, "lost": 1, "open": 1}, set()),
        ("id,stage,probability\n1,Won,100\n2,Lost,0\n3,New,0\n", {"won": 1, "lost": 1, "open": 1}, set()),
        ("id,won\n1,yes\n2,no\n", {"won": 1, "open": 1}, set()),
    ],
)
def test_what_is_closed(text: str, states: dict[str, int], unclear: set[int]) -> None:
    _, found = taken(text)
    assert found.states == states
    assert set(found.unclear) == unclear


def test_dates_can_be_told() -> None:
    deals = table("deal id,close date\n1,1/2/2026\n2,3/4/2026\n")
    found = guess(deals)
    assert [each["closedate"] for each in values(intake(deals, found))] == ["2026-01-02", "2026-03-04"]
    assert [each["closedate"] for each in values(intake(deals, found, "dmy"))] == ["2026-02-01", "2026-04-03"]
    assert [each["closedate"] for each in values(intake(deals, found, "iso"))] == ["1/2/2026", "3/4/2026"]


def test_one_column_that_is_sure_decides_for_another_that_is_not() -> None:
    _, found = taken("deal id,close date,create date\n1,31/12/2026,1/2/2026\n2,30/11/2026,3/4/2026\n")
    assert values(found)[0]["createdate"] == "2026-02-01"


def test_own_names_never_take_a_field_that_means_something() -> None:
    _, found = taken("deal id,deal amount,Amount,is_closed,Team!,team\n1,5,6,maybe,A,B\n")
    assert values(found) == [
        {"amount": "6", "deal_amount": "5", "is_closed_2": "maybe", "team": "A", "team_2": "B", "is_closed": False}
    ]


def test_the_person_is_told_what_was_guessed_and_what_is_missing() -> None:
    deals = table(
        "deal,value,close date,stage,legal_hold\nAcme,12k,1/2/2026,won,true\nBeta,much,,talks,false\nC,5,,done,\n"
    )
    found = guess(deals)
    done = intake(deals, found)
    assert shown(deals, found)[0] == ("deal", "dealname", "name", "Acme")
    said = told(deals, found, done)
    assert "imported under their own names: legal_hold" in said
    assert "no id column: the deals' names are taken, since no two are alike" in said
    assert '"close date" fits day first and month first; it is read month first (--dates dmy for the other)' in said
    assert '2 open, 1 won, by "stage"' in said
    assert '1 count as open because it is unclear: line 4: stage "done"' in said
    assert '"value": 1 of 3 cells cannot be read as amount and stay as they are (line 3)' in said
    assert "no next step: every deal is flagged no_next_step" in said
    assert values(done)[0]["legal_hold"] is True


CELLS = st.sampled_from(["", "1", "won", "lost", "12/13/2026", "$5", "x y", "\x1b[31m", "=1", "a" * 300]) | st.text(
    max_size=12
)


@given(
    st.lists(
        st.sampled_from(["id", "deal", "stage", "status", "amount", "close date", "owner", "zzz"]),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    st.lists(st.lists(CELLS, max_size=6), max_size=8),
)
def test_whatever_stands_in_a_file_it_is_read_or_refused(columns: list[str], rows: list[list[str]]) -> None:
    deals = Table("f.csv", tuple(columns), [(line, row[: len(columns)]) for line, row in enumerate(rows, start=2)])
    try:
        found = guess(deals)
        done = intake(deals, found)
    except UsageError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert re.match(r"f\.csv: ", refused)
        return
    told(deals, found, done)
    shown(deals, found)
    ids = [id_ for id_, _ in done.deals]
    assert len(ids) == len(set(ids)) == sum(done.states.values())
    assert all(id_ and not any(letter.isspace() for letter in id_) for id_ in ids)
