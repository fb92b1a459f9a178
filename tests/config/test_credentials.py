"""Secrets come from the environment or from files that only their owner reads, and stay out of every message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from revops_lite.config import load, secret
from revops_lite.errors import CredentialError


def test_a_secret_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    assert secret("env:TOKEN", tmp_path) == "hunter2"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_is_read_from_a_private_file_without_its_last_newline(tmp_path: Path, mode: int) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    (tmp_path / "token").chmod(mode)
    assert secret("file:token", tmp_path) == secret(f"file:{tmp_path}/token", Path("/")) == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    (tmp_path / "token").write_text("hunter2")
    (tmp_path / "token").chmod(mode)
    with pytest.raises(CredentialError) as caught:
        secret("file:token", tmp_path)
    assert f"run: chmod 600 {tmp_path}/token" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("env:REVOPS_NOT_SET", "the variable is not set; export REVOPS_NOT_SET"),
        ("env:REVOPS_EMPTY", "it is empty"),
        ("file:absent", "cannot be read (No such file or directory)"),
        ("file:empty", "it is empty"),
        ("file:folder", "cannot be read (Is a directory)"),
        ("file:pipe", "not a plain file"),
        ("file:binary", "not UTF-8 text"),
        ("file:long", "longer than 65536 bytes"),
        ("file:a\0b", "cannot be read"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, says: str
) -> None:
    monkeypatch.setenv("REVOPS_EMPTY", " ")
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, content in (("empty", b"\n"), ("binary", b"\xff"), ("long", b"x" * 70_000)):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    with pytest.raises(CredentialError) as caught:
        secret(reference, tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize("reference", ["hunter2", "", "env:", "file:", "ENV:X", "env:a b", "https://hunter2"])
def test_a_secret_itself_is_no_reference_and_is_not_repeated(tmp_path: Path, reference: str) -> None:
    with pytest.raises(CredentialError) as caught:
        secret(reference, tmp_path)
    assert "hunter2" not in str(caught.value)
    assert "write env:NAME or file:PATH" in str(caught.value)


def test_the_address_of_redis_may_be_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://:hunter2@host:6379/0")
    (tmp_path / "config.toml").write_text('timezone = "UTC"\nredis.url = "env:REDIS_URL"')
    settings = load(tmp_path / "config.toml")
    assert settings.redis_url() == "rediss://:hunter2@host:6379/0"
    assert "hunter2" not in repr(settings)
    (tmp_path / "config.toml").write_text('timezone = "UTC"\nredis.url = "unix:///run/redis.sock"')
    assert load(tmp_path / "config.toml").redis_url() == "unix:///run/redis.sock"
