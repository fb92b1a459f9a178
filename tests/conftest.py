"""Fixtures that every test may use.

* `redis`: a client, once on fakeredis and once on a real server; empty at the start of each test.
* `real_redis`: a client on the real server only, for what a fake cannot show (crashes, pub/sub, time).
* `server`: that real server (a `Lease`); one per test process, so that xdist's workers do not meet.
* `site`: an empty installation in the test's folder (tests/e2e/installation.py); nothing of it runs after the test.
* `quiet`: nothing but what is critical is logged.

REVOPS_TEST_REDIS_BINARY names another server program. Without any, real tests are skipped at home and fail in CI.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
from redis import Redis

from installation import Installation
from revops_lite.errors import ServerError
from revops_lite.server.lease import Lease, connect_or_start
from revops_lite.server.program import binary
from revops_lite.store.client import Clients


@pytest.fixture(scope="session")
def program() -> Path:
    """The server program under test."""
    named = os.environ.get("REVOPS_TEST_REDIS_BINARY")
    try:
        return Path(named).resolve(strict=True) if named else binary()
    except (ServerError, OSError) as error:
        if named or os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def server(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lease]:
    with connect_or_start(tmp_path_factory.mktemp("redis"), "everysec", "up", program=program) as lease:
        yield lease


@pytest.fixture(scope="session")
def real_clients(server: Lease) -> Iterator[Clients]:
    with Clients(server.url) as clients:
        yield clients


@pytest.fixture
def real_redis(real_clients: Clients) -> Redis:
    real_clients.commands.flushall()
    return real_clients.commands


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def redis(request: pytest.FixtureRequest) -> Iterator[Redis]:
    if request.param == "real":
        yield request.getfixturevalue("real_redis")
        return
    fake = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6, 2)))
    yield fake
    fake.close()


@pytest.fixture
def site(tmp_path: Path, program: Path) -> Iterator[Installation]:
    """`program` makes the test skip where no Redis server can be found (and fail in CI)."""
    del program
    made = Installation(tmp_path / "site")
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of refusals, each with its traceback in the log, would bury the one line that matters."""
    log = logging.getLogger("revops")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)
