"""Agents are imported from the configuration's own folder and from no other of the same name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from revops_lite.config import examine, load

TEXT = 'timezone = "UTC"\n[agents.one]\nentry = "agents.one:run"\n'


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, agent_file: Callable[..., None]) -> Install:
    """Make the installation `name`, whose agents/one.py declares `fields`; returns its config.toml."""

    def make(name: str, fields: str = "a") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        agent_file(folder, "one", fields)
        (folder / "config.toml").write_text(TEXT)
        return folder / "config.toml"

    return make


def fields(path: Path) -> list[str]:
    schema = load(path).agents["one"].schema
    assert schema is not None
    return list(schema.model_fields)


def test_each_of_two_installations_in_one_process_gets_its_own_agents(install: Install) -> None:
    first, second = install("1", "a"), install("2", "b")
    assert [fields(first), fields(second), fields(first)] == [["a"], ["b"], ["a"]]
    assert str(second.parent) not in sys.path


def test_the_same_installation_keeps_what_it_has_imported(install: Install) -> None:
    path = install("1")
    load(path)
    module = sys.modules["agents.one"]
    load(path)
    assert sys.modules["agents.one"] is module


def test_an_agent_that_only_the_last_installation_has_is_not_found(install: Install) -> None:
    load(install("1"))
    second = install("2")
    (second.parent / "agents" / "one.py").unlink()
    (finding,) = examine(second).findings
    assert "No module named 'agents.one'" in finding.problem
    (second.parent / "agents").rmdir()
    (finding,) = examine(second).findings
    assert "No module named 'agents" in finding.problem


def test_an_installed_package_called_agents_does_not_win(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    (site / "agents").mkdir(parents=True)
    (site / "agents" / "__init__.py").write_text("")
    (site / "agents" / "one.py").write_text("")
    monkeypatch.syspath_prepend(str(site))
    assert fields(install("1", "mine")) == ["mine"]


def test_an_agent_may_live_in_an_installed_package(
    install: Install, agent_file: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_file(tmp_path, "one", "theirs")
    (tmp_path / "agents").rename(tmp_path / "their_agents")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = install("1")
    path.write_text(TEXT.replace("agents.one:run", "their_agents.one:run"))
    try:
        assert fields(path) == ["theirs"]
        module = sys.modules["their_agents.one"]
        load(path)
        assert sys.modules["their_agents.one"] is module
    finally:
        for name in ("their_agents", "their_agents.one"):
            del sys.modules[name]


def test_what_an_agent_prints_while_it_is_imported_stays_off_stdout(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    path = install("1")
    with (path.parent / "agents" / "one.py").open("a") as file:
        file.write("print('hello')\n")
    load(path)
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise SystemExit(3)", "the module ends the program when it is imported"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def run(:", "SyntaxError"),
        ("raise ValueError('one\\n\\x1b[2Jtwo')", "ValueError: one\\n\\x1b[2Jtwo"),
        ("import no_such_library", "No module named 'no_such_library'"),
        ("from revops_lite import agent\n@agent(writes=dict)\ndef run(s): ...", "writes= takes a pydantic model"),
        ("def run(snapshot): ...", "not an agent; put @agent(...) above it"),
    ],
)
def test_an_agent_that_cannot_be_used_is_told_with_its_reason(install: Install, text: str, says: str) -> None:
    path = install("1")
    (path.parent / "agents" / "one.py").write_text(text)
    (finding,) = examine(path).findings
    assert (finding.line, finding.key) == (3, "agents.one.entry")
    assert says in finding.problem
    assert "\n" not in str(finding)


def test_an_agent_may_not_ask_for_the_token_of_the_crm(install: Install) -> None:
    path = install("1")
    path.write_text(TEXT + 'env = ["A", "HUBSPOT_TOKEN"]\n[crm]\ntoken = "env:HUBSPOT_TOKEN"')
    (finding,) = examine(path).findings
    assert (finding.key, finding.line) == ("agents.one.env[1]", 4)
