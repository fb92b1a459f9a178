"""`bench`: a trail beside a Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from bench import Bench


@pytest.fixture
def bench(redis: Redis, tmp_path: Path) -> Bench:
    return Bench(redis, tmp_path / "audit")
