"""`site`: an empty installation in the test's folder; nothing of it runs after the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation


@pytest.fixture
def site(tmp_path: Path, program: Path) -> Iterator[Installation]:
    """`program` makes the test skip where no Redis server can be found (and fail in CI)."""
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
