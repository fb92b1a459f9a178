"""`revops report`: the pages of an installation, with real processes for what a user types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from revops_lite.cli import report_cmds
from revops_lite.errors import NotFound, UsageError

NAMES = ["deal-review-2026-06-13", "deal-review-2026-06-15", "deal-review-2026-06-14", "week"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installation with four reports, the last of NAMES the newest, and what is no report."""
    (tmp_path / "config.toml").write_text('timezone = "UTC"\n')
    reports = tmp_path / "var" / "reports"
    reports.mkdir(parents=True)
    for age, name in enumerate(reversed(NAMES)):
        page = reports / f"{name}.html"
        page.write_text("<p>€</p>")
        os.utime(page, (1_750_000_000 - age, 1_750_000_000 - age))
    (reports / ".half.html.new").touch()
    (reports / ".hidden.html").touch()
    (reports / "folder.html").mkdir()
    return tmp_path


def revops(site: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    return subprocess.run(
        [sys.executable, "-m", "revops_lite.cli", "--config", str(site / "config.toml"), *words],
        capture_output=True,
        text=True,
        env={**plain, **env},
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_the_list_has_every_report_newest_first(site: Path) -> None:
    done = revops(site, "report", "list", "--json")
    told = json.loads(done.stdout)
    assert told["schema"] == 1
    assert [item["name"] for item in told["items"]] == NAMES[::-1]
    path = str(site / "var" / "reports" / "week.html")
    assert told["items"][0] == {"name": "week", "path": path, "size": 10, "at": "2025-06-15T15:06:40.000Z"}
    lines = revops(site, "report", "list", "--limit", "2").stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["2025-06-15T15:06:40.000Z", "10", "week"],
        ["2025-06-15T15:06:39.000Z", "10", "deal-review-2026-06-14"],
    ]


def test_without_reports_the_list_is_empty_and_open_says_what_makes_one(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('timezone = "UTC"\n')
    done = revops(tmp_path, "report", "list", "--json")
    assert (done.returncode, json.loads(done.stdout)["items"]) == (0, [])
    done = revops(tmp_path, "report", "open")
    assert (done.returncode, done.stdout) == (3, "")
    assert "a workflow with the step roll_up makes one" in done.stderr
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "week"),
        (["deal-review-2026-06-13"], "deal-review-2026-06-13"),
        (["week.html"], "week"),
        (["w"], "week"),
        (["week", "--print"], "week"),
    ],
)
def test_without_a_display_open_says_where_the_page_is(site: Path, words: list[str], name: str) -> None:
    done = revops(site, "report", "open", *words)
    assert (done.returncode, done.stdout) == (0, f"{site / 'var' / 'reports' / name}.html\n")


def test_with_a_display_the_browser_gets_the_page(site: Path) -> None:
    browser = site / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > "{site / "opened"}"\n')
    browser.chmod(0o755)
    for words in ([], ["--print"]):
        done = revops(site, "report", "open", *words, DISPLAY=":9", BROWSER=f"{browser} %s")
        assert done.returncode == 0
    assert (site / "opened").read_text() == (site / "var" / "reports" / "week.html").as_uri()


@pytest.mark.parametrize("name", ["month", "../../config.toml", "/etc/passwd", ".hidden", "folder", "*"])
def test_what_is_no_report_is_not_found(site: Path, name: str) -> None:
    done = revops(site, "report", "open", name)
    assert (done.returncode, done.stdout) == (3, "")
    assert "`revops report list` shows those there are" in done.stderr


def test_a_beginning_of_several_names_is_refused(site: Path) -> None:
    where = report_cmds.folder(site / "config.toml")
    with pytest.raises(UsageError, match="may be any of 3 reports: deal-review-2026-06-14, deal-"):
        report_cmds.named(where, "deal")
    (where / "deal.html").touch()
    assert report_cmds.named(where, "deal") == where / "deal.html"
    with pytest.raises(NotFound):
        report_cmds.named(where, "deals")
