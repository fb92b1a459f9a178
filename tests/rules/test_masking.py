"""Text without the values of sensitive fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.rules.masking import SHORTEST, without
from revops_lite.values import MASK


@pytest.mark.parametrize(
    ("text", "values", "left"),
    [
        ("an iban of DE0012", ["DE0012"], f"an iban of {MASK}"),
        ("grew to 1250000 or 1,250,000", [1_250_000], f"grew to {MASK} or {MASK}"),
        ("pays 12,345.50 a month", [12345.5], f"pays {MASK} a month"),
        ("Ada Lovelace, not Ada", ["Ada", "Ada Lovelace"], f"{MASK}, not {MASK}"),
        ("at 42 to 7", [42, 7, "", "at"], "at 42 to 7"),  # too short to be told from any other word
        ("true is true", [None], "true is true"),
        ("tags: ['a', 'b']", [["a", "b"]], f"tags: {MASK}"),
    ],
)
def test_what_stands_there_word_by_word_is_masked(text: str, values: list[Any], left: str) -> None:
    assert without(text, values) == left


@given(st.text(max_size=40), st.lists(st.text("abcd1", max_size=6), max_size=4))
def test_no_value_is_left_and_masking_again_changes_nothing(text: str, values: list[str]) -> None:
    left = without(text, values)
    assert not any(value in left for value in values if len(value) >= SHORTEST)
    assert without(left, values) == left
