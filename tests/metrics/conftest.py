"""The engine by hand and installations of real processes, as the tests of those parts have them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "engine"), str(TESTS / "e2e")]

if TYPE_CHECKING:
    from installation import Installation


@pytest.fixture
def site(tmp_path: Path, program: Path) -> Iterator[Installation]:
    """An empty installation; nothing of it runs after the test."""
    from installation import Installation

    del program
    made = Installation(tmp_path / "site")
    try:
        yield made
    finally:
        made.end()
