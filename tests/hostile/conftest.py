"""Bad input from everywhere: the helpers of the other folders are at hand, and nothing of an installation survives."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

for folder in ("e2e", "review"):
    sys.path.append(str(Path(__file__).resolve().parents[1] / folder))

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


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of refusals, each with its traceback in the log, would bury the one line that matters."""
    log = logging.getLogger("revops")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)
