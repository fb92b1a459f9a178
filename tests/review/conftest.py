"""Installations of real processes, and reviewers at real pseudo-terminals."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "e2e"))

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
