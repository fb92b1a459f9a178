"""Bad input from everywhere makes much noise in the log; the seat of a reviewer is at hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "review"))


@pytest.fixture(autouse=True)
def _quiet(quiet: None) -> None:
    """All tests of this folder are."""
