"""`bench`: a trail beside a Redis; `site`: a whole installation, as the end-to-end tests have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from bench import Bench
from installation import Installation


@pytest.fixture
def bench(redis: Redis, tmp_path: Path) -> Bench:
    return Bench(redis, tmp_path / "audit")


@pytest.fixture
def site(tmp_path: Path, program: Path) -> Iterator[Installation]:
    """`program` makes the test skip where no Redis server can be found (and fail in CI)."""
    del program
    made = Installation(tmp_path / "site")
    try:
        yield made
    finally:
        made.end()
