"""A command that only reads, beside `up`: it checks the configuration where it has changed, and only there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from installation import ENRICH, Installation, until

TOLD = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from revops_lite.cli import main
main()
"""
CHECKS = {"pydantic", "revops_lite.config"}


@pytest.fixture
def made(site: Installation) -> Installation:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"1": {"email": "a@b.example"}})
    return site


def loaded(site: Installation, *words: str) -> set[str]:
    """The modules that `revops WORDS` has loaded by its end."""
    command = [sys.executable, "-c", TOLD, *words]
    ended = subprocess.run(
        command, cwd=site.root, env=site.environment(), capture_output=True, text=True, check=True, timeout=60
    )
    return set(ended.stderr.splitlines()[-1].split())


def test_reading_beside_up_loads_little(made: Installation) -> None:
    with made.up():
        until(lambda: made.settled() == {"finished": 1})
        for words in (["run", "list"], ["write", "list", "--json"], ["record", "view", "lead:1"], ["hold", "list"]):
            modules = loaded(made, *words)
            print(len(modules), *words)
            assert modules & {*CHECKS, "rq", "sqlite3", "revops_lite.installation"} == set(), words
            assert len(modules) <= 400, words


def test_a_changed_configuration_is_checked_again(made: Installation) -> None:
    right = (made.root / "config.toml").read_text()
    with made.up():
        assert not loaded(made, "run", "list") & CHECKS
        made.file("config.toml", right + "# a word\n")
        assert loaded(made, "run", "list") >= CHECKS
        assert not loaded(made, "run", "list") & CHECKS  # it was right
        made.file("config.toml", right + "[nonsense]\n")
        assert "nonsense" in made.revops("run", "list", code=4).err
        assert "nonsense" in made.revops("run", "list", code=4).err
        made.file("config.toml", right)
        made.revops("run", "list")


def test_what_is_noted_for_another_version_does_not_count(made: Installation) -> None:
    with made.up():
        assert not loaded(made, "run", "list") & CHECKS
        (made.root / "var" / "config.checked").write_bytes(b"0" * 32)
        assert loaded(made, "run", "list") >= CHECKS


def test_where_nothing_runs_the_server_is_started(made: Installation) -> None:
    made.revops("up", "--until-idle")
    assert [run["state"] for run in made.run_list()] == ["finished"]


def test_a_folder_that_cannot_be_noted_in_does_no_harm(made: Installation) -> None:
    with made.up():
        note = made.root / "var" / "config.checked"
        note.unlink()
        note.mkdir()
        assert loaded(made, "run", "list") >= CHECKS


def test_a_long_list_says_that_there_is_more(made: Installation) -> None:
    made.crm("lead", {str(n): {"email": f"{n}@b.example"} for n in range(2, 62)})
    made.revops("up", "--until-idle")
    short, asked, whole = (made.revops("run", "list", *words) for words in ([], ["--limit", "60"], ["--json"]))
    assert len(short.out.splitlines()) == 51  # with its heading
    assert "--limit" in short.err
    assert len(asked.out.splitlines()) == 61
    assert "--limit" not in asked.err
    assert len(whole.items()) == 61
