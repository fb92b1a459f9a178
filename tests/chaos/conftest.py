"""Faults make much noise in the log."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _quiet(quiet: None) -> None:
    """All tests of this folder are."""
