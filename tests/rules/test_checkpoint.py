"""Whether an agent's output may be handed on: strictly, and whatever it holds."""

import json
from datetime import date
from decimal import Decimal
from enum import StrEnum
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator, model_validator

from revops_lite.policy import FieldPolicy
from revops_lite.rules.checkpoint import Checked, check


class Industry(StrEnum):
    SOFTWARE = "software"
    RETAIL = "retail"


class Site(BaseModel):
    url: str
    pages: int = 1


class Firmographics(BaseModel):
    industry: Industry | None = None
    numberofemployees: int | None = Field(default=None, ge=1, le=5_000_000)
    founded: date | None = None
    revenue: Decimal | None = None
    growth: float | None = None
    listed: bool | None = None
    technologies: list[str] | None = None
    site: Site | None = None
    anything: Any = None


class Strict(BaseModel):
    name: str
    size: int


def checked(values: dict[Any, Any], **rules: FieldPolicy) -> Checked:
    return check(values, Firmographics, {f"company.{name}": rule for name, rule in rules.items()}, "company")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"industry": "software"},
        {"numberofemployees": 1, "listed": False, "growth": 2},
        {"founded": "1998-01-31", "revenue": "12.50"},
        {"technologies": ["react", "víte 🎉"], "site": {"url": "https://example.com", "pages": 3}},
        {"anything": {"deep": [1, None, {"x": [2.5]}]}},
    ],
)
def test_proper_values_pass_as_they_are(values: dict[str, Any]) -> None:
    assert checked(values) == Checked(values, ())


def test_what_passes_is_normalised() -> None:
    found = checked({"industry": Industry.RETAIL, "growth": 2, "site": {"url": "u"}, "listed": None})
    assert found == Checked({"industry": "retail", "growth": 2.0, "site": {"url": "u", "pages": 1}}, ())
    assert type(found.values["industry"]) is str


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"numberofemployees": -1}, "numberofemployees: Input should be greater than or equal to 1 (got -1)"),
        ({"numberofemployees": "12"}, "numberofemployees: Input should be a valid integer (got '12')"),
        ({"numberofemployees": 1.5}, "numberofemployees: Input should be a valid integer (got 1.5)"),
        ({"numberofemployees": True}, "numberofemployees: Input should be a valid integer (got True)"),
        ({"industry": "farming"}, "industry: Input should be 'software' or 'retail' (got 'farming')"),
        ({"listed": 1}, "listed: Input should be a valid boolean (got 1)"),
        ({"growth": "2"}, "growth: Input should be a valid number (got '2')"),
        ({"founded": 7}, "founded: Input should be a valid date (got 7)"),
        ({"technologies": ["a", 2]}, "technologies.1: Input should be a valid string (got 2)"),
        ({"site": {}}, "site.url: Field required"),
        ({"owner": "x"}, "field 'owner' is not declared by this agent"),
        ({"growth": nan}, "growth: not a finite number (got nan)"),
        ({"growth": -inf}, "growth: not a finite number (got -inf)"),
        ({"anything": [[1e999]]}, "anything: not a finite number (got [[inf]])"),
        ({"anything": "\ud800"}, r"anything: the text holds half a surrogate pair (got '\ud800')"),
        ({"anything": {"\udfff": 1}}, r"anything: a key is no proper text (got {'\udfff': 1})"),
        ({"anything": {1: 1}}, "anything: a key is no proper text (got {1: 1})"),
        ({"anything": {1}}, "anything: set is no JSON type (got {1})"),
        ({"anything": b"x"}, "anything: bytes is no JSON type (got b'x')"),
        ({"anything": 2**63}, "anything: the integer does not fit 64 bits (got 9223372036854775808)"),
        ({"anything": "x" * 1_000_001}, "the values are larger than 1,000,000 bytes"),
        ({"anything": "ü" * 600_000}, "the values have 1,200,015 bytes, at most 1,000,000 are allowed"),
        ({"anything": [0] * 1_000_001}, "the values are larger than 1,000,000 bytes"),
    ],
)
def test_anything_else_is_a_problem_with_its_field_and_value(values: dict[str, Any], problem: str) -> None:
    assert checked(values) == Checked({}, (problem,))


def test_a_field_with_a_problem_is_not_called_missing_as_well() -> None:
    assert check({"name": "x", "size": nan}, Strict, {}, "company").problems == ("size: not a finite number (got nan)",)
    assert check({"name": "x"}, Strict, {}, "company").problems == ("size: Field required",)


def test_all_problems_are_told_at_once() -> None:
    problems = checked({"owner": 1, "growth": nan, "numberofemployees": 0, "listed": "no"}).problems
    assert [problem.split(":")[0] for problem in problems] == [
        "field 'owner' is not declared by this agent",
        "growth",
        "numberofemployees",
        "listed",
    ]


def test_very_many_problems_are_counted() -> None:
    problems = checked({f"x{number}": 1 for number in range(1000)}).problems
    assert len(problems) == 51
    assert problems[-1] == "and 950 more problems"


def test_an_agent_without_a_schema_may_write_nothing() -> None:
    assert check({"city": "Oslo"}, None, {}, "lead").problems == ("field 'city' is not declared by this agent",)
    assert check({"city": None}, None, {}, "lead") == Checked({}, ())


@pytest.mark.parametrize(("depth", "passes"), [(32, True), (33, False), (100_000, False)])
def test_nesting_has_an_end(depth: int, passes: bool) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    problems = checked({"anything": value}).problems
    assert [p.partition(" (got")[0] for p in problems] == ([] if passes else ["anything: nested more than 32 deep"])


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    assert checked({"anything": value}).problems[0].startswith("anything: nested more than 32 deep")


def test_a_value_that_unfolds_without_end_is_refused_at_once() -> None:
    value: list[Any] = [0]
    for _ in range(30):
        value = [value] * 10
    assert checked({"anything": value}).problems == ("the values are larger than 1,000,000 bytes",)


def test_integers_of_many_digits_are_refused_and_shown_short() -> None:
    for number in (10**50, 10**5000):
        (problem,) = checked({"anything": number}).problems
        assert problem.startswith("anything: the integer does not fit 64 bits (got ")
        assert len(problem) < 200


@pytest.mark.parametrize(
    ("rule", "value", "problem"),
    [
        (FieldPolicy(minimum=0), -1, "Input should be greater than or equal to 0"),
        (FieldPolicy(minimum=0), 0, None),
        (FieldPolicy(maximum=5_000_000), 5_000_001, "Input should be less than or equal to 5000000"),
        (FieldPolicy(maximum=0.5), 0.5, None),
        (FieldPolicy(minimum=10.0), "9.99", "Input should be greater than or equal to 10"),  # money as text
        (FieldPolicy(minimum=10.0), "10.00", None),
        (FieldPolicy(minimum=0), "NaN", "Input should be a number, since the field has a minimum or maximum"),
        (FieldPolicy(maximum=0), "much", "Input should be a number, since the field has a minimum or maximum"),
        (FieldPolicy(maximum=0), True, "Input should be a number, since the field has a minimum or maximum"),
        (FieldPolicy(maximum=0), [1], "Input should be a number, since the field has a minimum or maximum"),
        (FieldPolicy(minimum=nan), 5, "Input should be greater than or equal to NaN"),
        (FieldPolicy(minimum=-inf, maximum=inf), 5, None),
        (FieldPolicy(), "anything", None),
    ],
)
def test_the_bounds_of_a_field_hold_whatever_the_schema_says(
    rule: FieldPolicy, value: Any, problem: str | None
) -> None:
    problems = checked({"anything": value}, anything=rule).problems
    assert problems == (() if problem is None else (f"anything: {problem} (got {value!r})",))


def test_the_bounds_of_another_kind_say_nothing() -> None:
    rules = {"deal.growth": FieldPolicy(maximum=0.0)}
    assert check({"growth": 5.0}, Firmographics, rules, "company").problems == ()


class Bang(BaseException):
    def __str__(self) -> str:
        raise SystemExit


class Hostile(BaseModel):
    how: str

    @field_validator("how")
    @classmethod
    def blow_up(cls, how: str) -> str:
        raise {"exit": SystemExit, "interrupt": KeyboardInterrupt, "zero": ZeroDivisionError, "bang": Bang}[how]


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("exit", "the schema Hostile failed: SystemExit"),
        ("interrupt", "the schema Hostile failed: KeyboardInterrupt"),
        ("zero", "the schema Hostile failed: ZeroDivisionError"),
        ("bang", "the schema Hostile failed: Bang: (it cannot even say why)"),
        ("nothing known", "the schema Hostile failed: KeyError: 'nothing known'"),
    ],
)
def test_a_validator_that_raises_anything_at_all_is_a_problem(how: str, problem: str) -> None:
    assert check({"how": how}, Hostile, {}, "lead") == Checked({}, (problem,))


class Twisting(BaseModel):
    """Validators that turn good input into output nobody can store."""

    number: float | None = None
    text: str | None = None

    @model_validator(mode="after")
    def twist(self) -> "Twisting":
        if self.number is not None:
            self.number = inf
        if self.text == "wrong type":
            self.__dict__["text"] = 5
        elif self.text is not None:
            self.text = "\ud800"
        return self


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"number": 1.0}, "number: not a finite number (got inf)"),
        ({"text": "x"}, r"text: the text holds half a surrogate pair (got '\ud800')"),
        ({"text": "wrong type"}, "the schema Twisting failed: PydanticSerializationError: "),
    ],
)
def test_what_a_validator_makes_of_it_is_checked_again(values: dict[str, Any], problem: str) -> None:
    found = check(values, Twisting, {}, "lead")
    assert found.values == {}
    assert found.problems[0].startswith(problem)


class Aliased(BaseModel, serialize_by_alias=True, extra="allow"):
    owner: str = Field(alias="hubspot_owner_id")


def test_fields_are_called_by_their_names_only() -> None:
    assert check({"owner": "7"}, Aliased, {}, "lead") == Checked({"owner": "7"}, ())
    assert check({"hubspot_owner_id": "7"}, Aliased, {}, "lead").problems[0] == (
        "field 'hubspot_owner_id' is not declared by this agent"
    )


class Crossed(BaseModel):
    owner: str | None = Field(default=None, alias="name")
    name: str | None = None


def test_the_alias_of_another_field_takes_nothing_away() -> None:
    assert check({"name": "Ada", "owner": "7"}, Crossed, {}, "lead").values == {"name": "Ada", "owner": "7"}


class Helpful(BaseModel):
    """Has values of its own, and takes some away."""

    city: str | None
    source: str = "web"

    @field_validator("city")
    @classmethod
    def known(cls, city: str | None) -> str | None:
        return None if city == "n/a" else city


def test_only_what_the_agent_has_set_is_proposed() -> None:
    assert check({"city": "Oslo"}, Helpful, {}, "lead") == Checked({"city": "Oslo"}, ())
    assert check({"city": "n/a"}, Helpful, {}, "lead") == Checked({}, ())


def test_a_problem_is_one_printable_line() -> None:
    problems = checked({"\x1b[31m\n\u202e": 1, "industry": "\x1b]0;title\x07\n" + "y" * 500}).problems
    assert len(problems) == 2
    for problem in problems:
        assert problem.isprintable()
        assert len(problem) < 250


HOSTILE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=20),
        st.binary(max_size=3),
        st.sampled_from([Industry.SOFTWARE, 10**400, date(2026, 1, 1), {1, 2}, "software", "2026-01-01", "12.5"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(0, 2)), inner, max_size=4),
    ),
    max_leaves=12,
)
NAMES = st.one_of(st.sampled_from([*Firmographics.model_fields, "name", "size"]), st.text(max_size=5))
RULES = st.dictionaries(
    st.sampled_from(["company.growth", "company.anything", "company.size"]),
    st.builds(FieldPolicy, minimum=st.one_of(st.none(), st.floats()), maximum=st.one_of(st.none(), st.floats())),
)


@given(st.dictionaries(NAMES, HOSTILE, max_size=5), st.sampled_from([Firmographics, Strict, Hostile, None]), RULES)
def test_whatever_comes_in_only_plain_declared_json_comes_out(
    values: dict[str, Any], schema: type[BaseModel] | None, rules: dict[str, FieldPolicy]
) -> None:
    found = check(values, schema, rules, "company")
    assert not (found.values and found.problems)
    assert all(problem.isprintable() for problem in found.problems)
    text = json.dumps(found.values, allow_nan=False, ensure_ascii=False)
    assert json.loads(text) == found.values
    text.encode()
    assert set(found.values) <= {name for name, value in values.items() if value is not None}
    assert check(found.values, schema, rules, "company") == found or not found.values


@pytest.mark.parametrize(
    "values",
    [{"numberofemployees": 0}, {"growth": inf}, {"revenue": "much"}, {"site": {"url": "u", "pages": "424242"}}],
)
def test_a_problem_with_a_sensitive_field_does_not_tell_its_value(values: dict[str, Any]) -> None:
    (name,) = values
    (plain,) = checked(values).problems
    (masked,) = checked(values, **{name: FieldPolicy(sensitive=True)}).problems
    assert masked == plain.partition(" (got ")[0] + " (got •••)"


def test_a_bound_on_a_sensitive_field_does_not_tell_its_value() -> None:
    rules = FieldPolicy(sensitive=True, maximum=10)
    assert checked({"growth": 424242.0}, growth=rules).problems == (
        "growth: Input should be less than or equal to 10 (got •••)",
    )
