"""The README does what it says: its commands run as they stand, its agent works, its excerpt is what one sees."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pages import ROOT, blocks, marked, page

PATIENCE = 60.0


@dataclass(frozen=True)
class Reader:
    """Somebody who types what the README says."""

    home: Path

    @property
    def shop(self) -> Path:
        return self.home / "shop"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def types(self, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
        script = f"set -euo pipefail\n{text}"
        return subprocess.run(
            ["bash", "-c", script], cwd=folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )

    @contextmanager
    def leaves_running(self, text: str, folder: Path) -> Iterator[None]:
        with (folder / "up.log").open("wb") as log:
            process = subprocess.Popen(shlex.split(text), cwd=folder, env=self.environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while "controller    up" not in self.types("revops status", folder).stdout:
                assert process.poll() is None, (folder / "up.log").read_text()
                assert time.monotonic() < deadline
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Reader:
    """`program` makes the tests skip where no Redis server can be found (and fail in CI)."""
    del program
    home = tmp_path_factory.mktemp("reader")
    (home / "bin").mkdir()
    revops = home / "bin" / "revops"
    revops.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m revops_lite.cli "$@"\n')
    revops.chmod(0o755)
    return Reader(home)


@pytest.fixture(scope="module")
def first(reader: Reader) -> str:
    """What the first block prints; the others go on from there."""
    done = reader.types(marked("README.md", "run: first"), reader.home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_two_commands_run_and_test_the_system() -> None:
    commands = blocks(page("README.md"))[0].text.split()
    assert commands == ["scripts/run", "scripts/test"]
    assert all(os.access(ROOT / command, os.X_OK) for command in commands)


def shape(line: str) -> str:
    """A line without what differs from machine to machine and from day to day."""
    line = re.sub(r"\b[qr][0-9a-f]{14}\b", "ID", line)
    line = re.sub(r"(e\.g\. ID ).*", r"\1", line)
    return re.sub(r"\d+(\.\d+)?", "N", re.sub(r" +", " ", line)).strip()


def test_what_one_sees_is_what_the_readme_shows(first: str) -> None:
    shown = marked("README.md", "excerpt of `scripts/run`").splitlines()
    seen = {shape(line) for line in first.splitlines()}
    assert [line for line in shown if shape(line) not in seen] == []


def test_the_ten_minutes_work_as_written(reader: Reader, first: str) -> None:
    del first
    with reader.leaves_running(marked("README.md", "run: up"), reader.shop):
        done = reader.types(marked("README.md", "run: second"), reader.shop)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 created" in done.stdout
    assert re.search(r"new_lead  finished", done.stdout)
    assert "approved" in done.stdout
    assert "edited" in done.stdout
    assert "lead:ld-0001.hubspot_owner_id is " in done.stdout
    assert "● enrichment" in done.stdout
    edited = reader.types("revops crm export --kind company", reader.shop).stdout
    assert "81000000" in edited


def test_the_agent_of_the_readme_works(reader: Reader, first: str) -> None:
    del first
    (reader.shop / "agents" / "region.py").write_text(marked("README.md", "file: agents/region.py"))
    with (reader.shop / "config.toml").open("a") as file:
        file.write(marked("README.md", "append: config.toml"))
    done = reader.types(marked("README.md", "run: agent"), reader.shop)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"workflows\.new_region +1 step, on lead\.created", done.stdout)
    assert re.search(r"lead:ld-0002\.sales_region .* 0\.90  would be written", done.stdout)


def test_the_agents_page_has_an_agent_that_can_be_imported(tmp_path: Path) -> None:
    (found,) = [block.text for block in blocks(page("docs/agents.md")) if block.language == "python"]
    (tmp_path / "region.py").write_text(found)
    code = "from revops_lite.registry import load; print(load('region:region').fields)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "('sales_region',)", done.stderr
