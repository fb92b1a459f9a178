"""What the controller keeps in memory: what is being worked on, and no more."""

from __future__ import annotations

import pytest

from counted import Works

pytestmark = pytest.mark.real


def test_nothing_is_kept_of_what_has_ended(works: Works) -> None:
    works.together(100)
    works.together(100)
    assert works.controller.state.docs == {}
