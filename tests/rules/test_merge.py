"""What a read of the CRM changes in what we know, and what of it is only our own echo."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import Context, CrmRecord, FieldValue
from revops_lite.rules.merge import LAG, merge, own
from revops_lite.values import replace, same

ASKED, NOW = 1000.0, 1001.0


def known(**fields: FieldValue) -> Context:
    return Context("lead:1", version=7, fields=fields, known=True)


def value(of: Any, writer: str = "crm", at: float = 900.0, pending: str | None = None) -> FieldValue:
    return FieldValue(of, writer, 0.9, at, 5, run="r1", priority=40, pending=pending)


def read(values: dict[str, Any], edited: dict[str, float] | None = None, updated_at: float = 950.0) -> CrmRecord:
    return CrmRecord("lead", "1", values, 100.0, updated_at, edited or {})


def test_a_first_read_makes_the_record_known() -> None:
    context, changed = merge(Context("lead:1"), read({"city": "Oslo", "zip": None}), ASKED, NOW)
    assert changed == ()
    assert context.known
    assert context.version == 1
    assert context.fields["city"] == FieldValue("Oslo", "crm", 1.0, 950.0, 1)
    assert context.fields["zip"].value is None


def test_a_person_whom_the_crm_names_is_the_writer_from_the_first_read_on() -> None:
    context, changed = merge(Context("lead:1"), read({"city": "Oslo"}, {"city": 940.0}), ASKED, NOW)
    assert (context.fields["city"].writer, context.fields["city"].at, changed) == ("person", 940.0, ())


def test_the_same_values_change_nothing_at_all() -> None:
    before = known(city=value("Oslo", "enrichment"), size=value(10), tags=value(["a", 1]))
    after, changed = merge(before, read({"city": "Oslo", "size": 10.0, "tags": ["a", 1]}), ASKED, NOW)
    assert after is before
    assert changed == ()


def test_another_value_than_we_knew_is_a_persons_edit() -> None:
    before = known(city=value("Oslo", "enrichment"), size=value(10))
    after, changed = merge(before, read({"city": "Bergen", "size": 10}), ASKED, NOW)
    assert changed == ("city",)
    assert after.version == 8
    assert after.fields["city"] == FieldValue("Bergen", "person", 1.0, 950.0, 8)
    assert after.fields["size"] is before.fields["size"]


def test_all_changes_of_one_read_get_one_version() -> None:
    before = known(city=value("Oslo"), size=value(10))
    after, changed = merge(before, read({"city": "Bergen", "size": 11, "zip": "5003"}), ASKED, NOW)
    assert after.version == 8
    assert {after.fields[name].version for name in ("city", "size", "zip")} == {8}
    assert changed == ("city", "size")
    assert after.fields["zip"].writer == "crm"


@pytest.mark.parametrize(
    "mine",
    [
        value("Oslo", "enrichment", at=900.0, pending="w1"),
        value("Oslo", "enrichment", at=1000.0),
        value("Oslo", "enrichment", at=1000.5),
    ],
)
@pytest.mark.parametrize("values", [{"city": "Bergen"}, {}])
def test_a_read_that_may_be_older_than_our_write_changes_nothing(mine: FieldValue, values: dict[str, Any]) -> None:
    before = known(city=mine)
    assert merge(before, read(values, dict.fromkeys(values, 990.0)), ASKED, NOW) == (before, ())


@pytest.mark.parametrize("writer", ["enrichment", "person"])
@pytest.mark.parametrize("values", [{"city": "Bergen"}, {}])
def test_a_read_of_a_record_that_has_not_changed_since_a_write_or_an_edit_is_the_crms_lag(
    values: dict[str, Any], writer: str
) -> None:
    before = known(city=value("Oslo", writer, at=960.0))
    assert merge(before, read(values, updated_at=950.0), ASKED, NOW) == (before, ())
    after, changed = merge(before, read(values, updated_at=970.0), ASKED, NOW)
    assert changed == ("city",)
    late, changed = merge(before, read(values, updated_at=950.0), 960.0 + LAG, 961.0 + LAG)
    assert changed == ("city",)
    assert late.fields["city"].value == after.fields["city"].value == values.get("city")


def test_a_field_that_vanished_is_empty() -> None:
    before = known(city=value("Oslo", "person"), size=value(10, "enrichment"), gone=value(None), seed=value(1, "event"))
    after, changed = merge(before, read({}), ASKED, NOW)
    assert changed == ("city", "size")
    assert after.fields["city"] == FieldValue(None, "person", 1.0, 950.0, 8)
    assert after.fields["seed"] is before.fields["seed"]
    assert after.fields["gone"] is before.fields["gone"]


def test_a_value_that_comes_back_is_a_persons_edit() -> None:
    after, changed = merge(known(city=value(None)), read({"city": "Oslo"}), ASKED, NOW)
    assert (changed, after.fields["city"].writer) == (("city",), "person")


@pytest.mark.parametrize(
    ("edited", "updated_at", "at"),
    [
        ({"city": 940.0}, 950.0, 940.0),
        ({"city": 5000.0}, 950.0, NOW),  # the CRM's clock is ahead
        ({"city": 800.0}, 950.0, 800.0),  # the CRM's clock is behind
        ({}, 950.0, 950.0),
        ({}, 0.0, ASKED),  # a CRM that does not tell when
        ({}, 900.0, ASKED),  # not after what we knew
        ({}, 5000.0, ASKED),
    ],
)
def test_the_time_of_an_edit(edited: dict[str, float], updated_at: float, at: float) -> None:
    after, _ = merge(known(city=value("Oslo")), read({"city": "Bergen"}, edited, updated_at), ASKED, NOW)
    assert after.fields["city"].at == at


@pytest.mark.parametrize(
    ("mine", "edited", "writer"),
    [
        (value("Oslo", "enrichment", at=900.0), 940.0, "person"),  # a person put it there again, after us
        (value("Oslo", "enrichment", at=960.0), 940.0, "enrichment"),
        (value("Oslo", "event", at=960.0), 940.0, "person"),
        (value("Oslo", "crm", at=960.0), 940.0, "person"),
    ],
)
def test_a_person_who_confirms_a_value_owns_it_without_a_new_version(
    mine: FieldValue, edited: float, writer: str
) -> None:
    after, changed = merge(known(city=mine), read({"city": "Oslo"}, {"city": edited}), ASKED, NOW)
    assert (after.fields["city"].writer, after.fields["city"].version) == (writer, 5)
    assert (after.version, changed) == (7, ())


def test_what_else_the_context_holds_stays() -> None:
    before = replace(known(city=value("Oslo")), sent=(1.0,), intents=("i1",))
    after, _ = merge(before, read({"city": "Bergen"}), ASKED, NOW)
    assert replace(after, fields=before.fields, version=7) == before


def is_ours(known_value: FieldValue) -> bool:
    return known_value.writer not in ("crm", "person", "event")


NAMES = st.sampled_from("abcd")
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["x", "y"]))
FIELDS = st.builds(
    FieldValue,
    SCALARS,
    st.sampled_from(["enrichment", "crm", "person", "event", "review:ada"]),
    st.floats(0, 1),
    st.floats(800, 1100),
    st.integers(0, 7),
    pending=st.sampled_from([None, None, "w1"]),
)
CONTEXTS = st.builds(
    lambda fields, is_known: Context("lead:1", 7, fields, known=is_known),
    st.dictionaries(NAMES, FIELDS, max_size=4),
    st.booleans(),
)
READS = st.builds(
    read, st.dictionaries(NAMES, SCALARS, max_size=4), st.dictionaries(NAMES, st.floats(), max_size=2), st.floats()
)


@given(CONTEXTS, READS, st.floats(900, 1050))
def test_a_merge_shows_the_crm_except_where_ours_is_newer(before: Context, found: CrmRecord, asked: float) -> None:
    after, changed = merge(before, found, asked, NOW)
    assert after.known
    for name, mine in before.fields.items():
        told = mine.writer not in ("crm", "event")
        if mine.pending or mine.at >= asked or (told and found.updated_at < mine.at and asked - mine.at < LAG):
            assert after.fields[name] is mine
        elif name in found.values or mine.writer != "event":
            assert same(after.fields[name].value, found.values.get(name))
    for name in found.values.keys() - before.fields.keys():
        assert same(after.fields[name].value, found.values[name])
    assert set(changed) == {n for n in before.fields if not same(after.fields[n].value, before.fields[n].value)}
    moved = {n for n in after.fields if n not in before.fields or n in changed}
    assert after.version == 7 + bool(moved)
    assert all(after.fields[name].version == 8 for name in moved)


@given(CONTEXTS, READS)
def test_reading_the_same_again_changes_nothing(before: Context, found: CrmRecord) -> None:
    once, _ = merge(before, found, ASKED, NOW)
    twice, changed = merge(once, found, ASKED, NOW)
    assert twice is once
    assert changed == ()


@given(CONTEXTS, st.lists(st.tuples(READS, st.floats(900, 1000)), max_size=4), READS)
def test_the_last_read_of_all_shows_the_crm(
    context: Context, earlier: list[tuple[CrmRecord, float]], last: CrmRecord
) -> None:
    for found, asked in earlier:
        context, _ = merge(context, found, asked, NOW)
    context, _ = merge(context, last, 2000.0, 2001.0)
    shown = {n: v.value for n, v in context.fields.items() if not v.pending and v.value is not None}
    seeds = {n for n, v in context.fields.items() if v.writer == "event" and n not in last.values}
    wanted = {n: v for n, v in last.values.items() if v is not None and not context.fields[n].pending}
    assert same({n: v for n, v in shown.items() if n not in seeds}, wanted)


@pytest.mark.parametrize(
    ("change", "ours", "rest"),
    [
        ({"city": "Oslo"}, {"city": "Oslo"}, {}),
        ({"city": "Oslo", "zip": "1"}, {"city": "Oslo"}, {"zip": "1"}),
        ({"city": "Bergen"}, {"city": "Oslo"}, {"city": "Bergen"}),
        ({"size": 1.0}, {"size": 1}, {}),
        ({"flag": True}, {"flag": 1}, {"flag": True}),
        ({"city": None}, {}, {"city": None}),
        ({}, {"city": "Oslo"}, {}),
    ],
)
def test_what_is_left_of_a_change_is_not_ours(change: dict[str, Any], ours: dict[str, Any], rest: Any) -> None:
    assert own(change, ours) == rest


@pytest.mark.parametrize(
    ("before", "edited", "writer"),
    [
        ({}, {}, "crm"),
        ({}, {"city": 940.0}, "person"),
        ({"city": value(None)}, {}, "crm"),
        ({"city": value(None)}, {"city": 940.0}, "person"),
        ({"city": value("Oslo", "enrichment")}, {}, "person"),
    ],
)
def test_an_empty_field_is_a_persons_where_the_crm_says_so_or_something_stood_there(
    before: dict[str, FieldValue], edited: dict[str, float], writer: str
) -> None:
    after, _ = merge(known(**before), read({"city": None}, edited), ASKED, NOW)
    assert (after.fields["city"].value, after.fields["city"].writer) == (None, writer)
