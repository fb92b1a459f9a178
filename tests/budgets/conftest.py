from __future__ import annotations

import pytest
from redis import Redis

from counted import Works
from revops_lite.store.client import Clients


@pytest.fixture
def works(real_redis: Redis, real_clients: Clients) -> Works:
    del real_redis  # it is empty now
    return Works(real_clients)
