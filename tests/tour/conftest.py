"""`tour`: one installation to be moved by hand, on a real embedded server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from revops_lite.server.process import EmbeddedServer
from revops_lite.store.client import Clients
from touring import Tour


@pytest.fixture
def tour(program: Path, tmp_path: Path) -> Iterator[Tour]:
    server = EmbeddedServer(tmp_path / "redis", "always", program)
    server.start()
    with Clients(server.url) as clients:
        made = Tour(clients, tmp_path)
        yield made
        made.writer.close()
        made.crm.close()
    server.stop()
