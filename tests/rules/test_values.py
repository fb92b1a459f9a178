"""When two field values are the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.values import same

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.sampled_from(["", "1", "x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ([True], [1], False),
        ({"a": 0}, {"a": False}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], [2, 1], False),
        ([1], (1,), True),
        ("1", 1, False),
        (None, "", False),
        (float("nan"), float("nan"), True),
        ([], {}, False),
    ],
)
def test_values_are_compared_as_json(one: Any, other: Any, expected: bool) -> None:
    assert same(one, other) is expected


@given(JSON, JSON, JSON)
def test_being_the_same_is_an_equivalence(one: Any, other: Any, third: Any) -> None:
    assert same(one, one)
    assert same(one, other) == same(other, one)
    if same(one, other) and same(other, third):
        assert same(one, third)
