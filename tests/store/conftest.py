"""A store on both servers, a server of a test's own, and a guard: no test leaves a key behind that lives for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from revops_lite.server.process import EmbeddedServer
from revops_lite.store import keys
from revops_lite.store.store import Lead, Store

ENDLESS = (keys.index(""), keys.open_(""), f"{keys.WAITING}:", "rq:")  # trimmed, or emptied, instead of expiring


@pytest.fixture
def store(redis: Redis) -> Store:
    return Store(redis)


@pytest.fixture
def lead(store: Store) -> Lead:
    """The controller's claim, taken at second 1000."""
    return store.begin("host:1:a", 1000.0, False)


@pytest.fixture
def own(program: Path, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A real server whose settings a test may change, and which it may kill."""
    server = EmbeddedServer(tmp_path / "redis", "everysec", program)
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _no_key_lives_for_ever(request: pytest.FixtureRequest) -> Iterator[None]:
    client: Any = request.getfixturevalue("redis") if "redis" in request.fixturenames else None
    yield
    if client is not None:
        names = [name.decode() for name in client.scan_iter() if client.ttl(name) == -1]
        assert [name for name in names if name not in keys.PERMANENT and not name.startswith(ENDLESS)] == []
