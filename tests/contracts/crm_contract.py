"""What every CRM adapter has to do: each sentence of `ports.Crm`. A subclass gives the fixture `crm`.

`crm` is the adapter plus three verbs of the people who use that CRM: create, edit, archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from revops_lite.errors import CrmConflict, CrmRefused
from revops_lite.models import CrmChange
from revops_lite.ports import BatchCrm, CrmCall

RELATIONS = {
    "lead.company_id": "company",
    "lead.contact_id": "contact",
    "contact.company_id": "company",
    "activity.deal_id": "deal",
    "company.parent_id": "company",
}


class Clock:
    """A second passes whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def everything(crm: Any, cursor: str | None = None, page: int = 100) -> Iterator[CrmChange]:
    while True:
        found, cursor = crm.changes(cursor, page)
        if not found:
            return
        assert len(found) <= page
        yield from found


def conflict_of(crm: Any, *args: Any) -> CrmConflict:
    with pytest.raises(CrmConflict) as caught:
        crm.write(*args)
    return caught.value


class CrmContract:
    # ---- read

    def test_it_reads_what_it_holds_and_leaves_out_what_it_does_not(self, crm: Any) -> None:
        crm.create("lead", "1", {"email": "a@example.com"})
        crm.create("company", "1", {"name": "A"})
        found = crm.read(["lead:1", "lead:2", "company:1", "nothing", ":", "lead:"])
        assert {name: dict(one.values) for name, one in found.items()} == {
            "lead:1": {"email": "a@example.com"},
            "company:1": {"name": "A"},
        }
        assert (found["lead:1"].kind, found["lead:1"].id, found["lead:1"].record) == ("lead", "1", "lead:1")

    def test_every_json_value_comes_back_as_it_was_written(self, crm: Any) -> None:
        values = {
            "t": "é\n'\"\\ \u202e=cmd()",
            "i": 2**60,
            "f": 0.1,
            "b": True,
            "l": [1, {"a": None}],
            "d": {"x": "y"},
            "e": "",
        }
        crm.create("lead", "it's 1", {})
        crm.write("lead:it's 1", values, {}, "w1", "enrichment")
        found = crm.read(["lead:it's 1"])["lead:it's 1"].values
        assert found == values
        assert found["b"] is True

    def test_an_archived_record_is_not_read_related_swept_or_written(self, crm: Any) -> None:
        crm.create("company", "1", {})
        crm.create("lead", "1", {"company_id": "1"})
        crm.archive("lead:1")
        assert crm.read(["lead:1"]) == {}
        assert crm.related(["company:1"], ["leads"]) == {"company:1": {"leads": ()}}
        assert list(crm.sweep("lead", {}, 10)) == []
        with pytest.raises(CrmRefused):
            crm.write("lead:1", {"a": 1}, {}, "w1", "enrichment")

    def test_a_change_moves_the_time_of_update_and_not_of_creation(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1})
        before = crm.read(["lead:1"])["lead:1"]
        crm.write("lead:1", {"a": 2}, {"a": 1}, "w1", "enrichment")
        after = crm.read(["lead:1"])["lead:1"]
        assert after.created_at == before.created_at
        assert after.updated_at > before.updated_at

    # ---- related

    def test_relations_are_followed_both_ways(self, crm: Any) -> None:
        crm.create("company", "7", {})
        crm.create("contact", "1", {"company_id": "7"})
        crm.create("contact", "2", {"company_id": "7"})
        crm.create("contact", "3", {"company_id": "8"})
        crm.create("lead", "1", {"company_id": "7", "contact_id": "2"})
        crm.create("deal", "1", {})
        crm.create("activity", "1", {"deal_id": "1"})
        assert crm.related(["lead:1"], ["company", "contacts"]) == {
            "lead:1": {"company": ("company:7",), "contacts": ("contact:2",)}
        }
        both = ("contact:1", "contact:2")
        assert crm.related(["company:7"], ["contact", "contacts"]) == {"company:7": {"contact": both, "contacts": both}}
        assert crm.related(["deal:1"], ["activities"]) == {"deal:1": {"activities": ("activity:1",)}}

    def test_whoever_is_related_to_nobody_has_an_empty_role(self, crm: Any) -> None:
        crm.create("lead", "1", {"company_id": "gone"})
        nobody = {"company": (), "unheard_of": ()}
        assert crm.related(["lead:1", "lead:2", "odd"], list(nobody)) == dict.fromkeys(
            ["lead:1", "lead:2", "odd"], nobody
        )

    def test_between_records_of_one_kind_the_singular_follows_and_the_plural_finds(self, crm: Any) -> None:
        crm.create("company", "mother", {})
        crm.create("company", "child", {"parent_id": "mother"})
        assert crm.related(["company:mother", "company:child"], ["company", "companies"]) == {
            "company:mother": {"company": (), "companies": ("company:child",)},
            "company:child": {"company": ("company:mother",), "companies": ()},
        }

    def test_a_number_points_at_the_record_with_that_id(self, crm: Any) -> None:
        crm.create("company", "7", {})
        crm.create("lead", "1", {"company_id": 7})
        assert crm.related(["lead:1", "company:7"], ["company", "lead"]) == {
            "lead:1": {"company": ("company:7",), "lead": ()},
            "company:7": {"company": (), "lead": ("lead:1",)},
        }

    # ---- write

    def test_a_write_sets_its_fields_and_leaves_the_others(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1, "b": 2})
        crm.write("lead:1", {"a": 10, "c": 3}, {"a": 1, "c": None}, "w1", "enrichment")
        assert crm.read(["lead:1"])["lead:1"].values == {"a": 10, "b": 2, "c": 3}

    def test_another_value_than_expected_is_a_conflict_and_nothing_is_written(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1, "b": 2})
        error = conflict_of(crm, "lead:1", {"a": 10, "b": 20}, {"a": 1, "b": 3}, "w1", "enrichment")
        assert error.current == {"a": 1, "b": 2}
        assert crm.read(["lead:1"])["lead:1"].values == {"a": 1, "b": 2}
        assert not crm.applied("lead:1", "w1")

    def test_a_missing_field_and_none_are_the_same_expectation(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1})
        assert conflict_of(crm, "lead:1", {"a": 2}, {"a": None}, "w1", "x").current == {"a": 1}
        assert conflict_of(crm, "lead:1", {"b": 2}, {"b": 1}, "w2", "x").current == {"b": None}
        crm.write("lead:1", {"b": 2}, {"b": None}, "w3", "x")
        assert crm.read(["lead:1"])["lead:1"].values == {"a": 1, "b": 2}

    def test_true_is_not_taken_for_one(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": True})
        assert conflict_of(crm, "lead:1", {"a": 2}, {"a": 1}, "w1", "x").current == {"a": True}

    def test_none_clears_a_field(self, crm: Any) -> None:
        crm.create("lead", "1", {"b": 2})
        crm.write("lead:1", {"a": 5}, {}, "w1", "x")
        crm.write("lead:1", {"a": None}, {"a": 5}, "w2", "x")
        assert crm.read(["lead:1"])["lead:1"].values == {"b": 2}

    def test_a_record_that_is_not_there_is_refused_for_good(self, crm: Any) -> None:
        for name in ("lead:1", "lead:", "lead", ""):
            with pytest.raises(CrmRefused):
                crm.write(name, {"a": 1}, {}, "w1", "x")
        assert crm.changes(None, 10)[0] == []

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_value_that_is_no_json_is_refused_with_all_its_fields(self, crm: Any, bad: float) -> None:
        crm.create("lead", "1", {"a": 1})
        with pytest.raises(CrmRefused):
            crm.write("lead:1", {"a": 2, "b": bad}, {}, "w1", "x")
        assert crm.read(["lead:1"])["lead:1"].values == {"a": 1}

    def test_the_same_write_again_succeeds_and_changes_nothing(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1})
        call = ("lead:1", {"a": 2}, {"a": 1}, "w1", "x")
        crm.write(*call)
        crm.write(*call)
        crm.edit("lead:1", {"a": 3}, "ann")
        crm.write(*call)
        assert crm.read(["lead:1"])["lead:1"].values == {"a": 3}
        assert len(list(everything(crm))) == 3

    def test_it_testifies_which_writes_were_applied(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1})
        crm.create("lead", "2", {"a": 1})
        crm.write("lead:1", {"a": 1}, {"a": 1}, "w1", "x")
        assert crm.applied("lead:1", "w1") is True
        assert crm.applied("lead:1", "w2") is False
        assert crm.applied("lead:2", "w1") is False
        assert crm.applied("lead:3", "w1") is False

    def test_many_threads_with_compare_and_set_lose_no_count(self, crm: Any) -> None:
        crm.create("lead", "1", {"n": 0})

        def count(who: int) -> int:
            done = 0
            while done < 10:
                held = crm.read(["lead:1"])["lead:1"].values["n"]
                try:
                    crm.write("lead:1", {"n": held + 1}, {"n": held}, f"{who}-{done}", f"agent{who}")
                except CrmConflict:
                    continue
                done += 1
            return done

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(count, range(6))) == 60
        assert crm.read(["lead:1"])["lead:1"].values == {"n": 60}

    # ---- write_many

    def test_many_writes_at_once_are_each_all_or_nothing(self, crm: Any) -> None:
        assert isinstance(crm, BatchCrm)
        crm.create("lead", "1", {"a": 1})
        crm.create("lead", "2", {"a": 1})
        outcomes = crm.write_many(
            [
                CrmCall("lead:1", {"a": 2}, {"a": 1}, "w1", "x"),
                CrmCall("lead:2", {"a": 2, "b": 2}, {"a": 9}, "w2", "x"),
                CrmCall("lead:3", {"a": 2}, {}, "w3", "x"),
                CrmCall("lead:2", {"b": float("nan"), "a": 5}, {}, "w4", "x"),
                CrmCall("lead:1", {"a": 3}, {"a": 2}, "w5", "x"),
                CrmCall("lead:1", {"a": 2}, {"a": 1}, "w1", "x"),
            ]
        )
        assert [type(one) for one in outcomes] == [
            type(None),
            CrmConflict,
            CrmRefused,
            CrmRefused,
            type(None),
            type(None),
        ]
        assert crm.read(["lead:1"])["lead:1"].values == {"a": 3}
        assert crm.read(["lead:2"])["lead:2"].values == {"a": 1}

    def test_no_writes_at_once_are_no_trouble(self, crm: Any) -> None:
        assert crm.write_many([]) == []

    # ---- changes

    def test_changes_come_oldest_first_with_who_and_what(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1, "b": 2}, actor="bob", source="import")
        crm.edit("lead:1", {"a": 5}, "ann")
        crm.write("lead:1", {"a": 6, "b": 3}, {"a": 5}, "w1", "enrichment")
        created, edited, ours = everything(crm)
        assert (created.record, created.created, created.fields) == ("lead:1", True, {"a": 1, "b": 2})
        assert (created.actor, created.write_ids) == ("import", ())
        assert (edited.created, edited.fields, edited.actor, edited.write_ids) == (False, {"a": 5}, "ann", ())
        assert (ours.created, ours.fields, ours.actor, ours.write_ids) == (
            False,
            {"a": 6, "b": 3},
            "enrichment",
            ("w1",),
        )
        assert created.at < edited.at < ours.at

    def test_a_record_without_fields_is_created_as_well(self, crm: Any) -> None:
        crm.create("lead", "1", {})
        (created,) = everything(crm)
        assert (created.record, created.created, created.fields) == ("lead:1", True, {})

    def test_a_cursor_goes_on_where_it_stood(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1})
        first, cursor = crm.changes(None, 10)
        assert crm.changes(cursor, 10) == ([], cursor)
        crm.edit("lead:1", {"a": None}, "ann")
        then, _ = crm.changes(cursor, 10)
        assert [one.created for one in (*first, *then)] == [True, False]
        assert then[0].fields == {"a": None}

    def test_no_page_size_tears_a_change_apart_or_renames_it(self, crm: Any) -> None:
        for number in range(5):
            crm.create("lead", str(number), {"a": 1, "b": 2, "c": 3})
            crm.write(f"lead:{number}", {"a": 2, "b": 3}, {}, f"w{number}", "x")
        whole = list(everything(crm))
        assert len({one.key for one in whole}) == len(whole) == 10
        for page in (1, 2, 3, 7):
            assert list(everything(crm, page=page)) == whole

    def test_a_change_keeps_its_name_whatever_happens_after_it(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1})
        before = list(everything(crm))
        crm.edit("lead:1", {"b": 1}, "ann")
        crm.edit("lead:1", {"c": 1}, "ann")
        assert list(everything(crm))[:1] == before
        assert len(list(everything(crm))) == 3

    def test_archiving_is_a_change(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1})
        crm.archive("lead:1")
        assert list(everything(crm))[-1].fields == {"archived": True}

    # ---- edited

    def test_a_persons_edit_is_told_from_imports_and_our_writes(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1, "b": 1}, source="import", actor="ann")
        assert crm.read(["lead:1"])["lead:1"].edited == {}
        crm.write("lead:1", {"a": 2}, {}, "w1", "x")
        assert crm.read(["lead:1"])["lead:1"].edited == {}
        crm.edit("lead:1", {"a": 3, "b": 3}, "ann")
        last = list(everything(crm))[-1]
        assert crm.read(["lead:1"])["lead:1"].edited == {"a": last.at, "b": last.at}

    def test_a_later_write_of_ours_ends_a_persons_edit_of_that_field(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1, "b": 1})
        crm.write("lead:1", {"a": 2}, {}, "w1", "x")
        ((swept,),) = crm.sweep("lead", {}, 10)
        assert set(swept.edited) == {"b"}

    def test_a_field_that_a_person_cleared_is_known_to_be_empty(self, crm: Any) -> None:
        crm.create("lead", "1", {"a": 1}, source="import", actor="ann")
        crm.edit("lead:1", {"a": None}, "ann")
        found = crm.read(["lead:1"])["lead:1"]
        assert found.values == {"a": None}
        assert set(found.edited) == {"a"}

    # ---- sweep

    def test_a_sweep_finds_every_record_of_its_kind_once_in_pages(self, crm: Any) -> None:
        for number in range(25):
            crm.create("lead", f"{number:02}", {"n": number})
        crm.create("company", "1", {"n": 1})
        pages = list(crm.sweep("lead", {}, 10))
        assert [len(page) for page in pages] == [10, 10, 5]
        names = [one.id for page in pages for one in page]
        assert names == [one.id for page in crm.sweep("lead", {}, 7) for one in page]
        assert sorted(names) == [f"{number:02}" for number in range(25)]

    def test_a_sweep_takes_the_records_whose_fields_equal(self, crm: Any) -> None:
        crm.create("deal", "1", {"is_closed": False, "stage": "won"})
        crm.create("deal", "2", {"is_closed": False, "stage": "lost"})
        crm.create("deal", "3", {"is_closed": True, "stage": "won"})
        crm.create("deal", "4", {"stage": "won", "tags": ["a", 1]})
        crm.create("deal", "5", {"is_closed": 0, "stage": "won"})

        def ids(where: dict[str, Any]) -> list[str]:
            return sorted(one.id for page in crm.sweep("deal", where, 2) for one in page)

        assert ids({"is_closed": False, "stage": "won"}) == ["1"]
        assert ids({"is_closed": None}) == ["4"]
        assert ids({"is_closed": 0}) == ["5"]
        assert ids({"tags": ["a", 1]}) == ["4"]
        assert ids({"stage": "new"}) == []

    def test_writes_between_the_pages_do_not_disturb_a_sweep(self, crm: Any) -> None:
        for number in range(6):
            crm.create("lead", str(number), {"n": 0})
        seen = []
        for page in crm.sweep("lead", {"n": 0}, 2):
            seen += [one.id for one in page]
            for one in page:
                crm.write(one.record, {"n": 1}, {"n": 0}, f"w{one.id}", "x")
        assert sorted(seen) == ["0", "1", "2", "3", "4", "5"]
        assert list(crm.sweep("lead", {"n": 0}, 2)) == []

    def test_a_sweep_may_be_left_early(self, crm: Any) -> None:
        for number in range(6):
            crm.create("lead", str(number), {"n": 0})
        sweep = crm.sweep("lead", {}, 2)
        assert len(next(sweep)) == 2
        sweep.close()
        crm.write("lead:0", {"n": 1}, {"n": 0}, "w1", "x")
        assert crm.read(["lead:0"])["lead:0"].values == {"n": 1}
