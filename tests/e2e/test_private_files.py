"""Nothing in `var` can be read by another user, whatever the umask of whoever starts the program."""

from __future__ import annotations

import os
import shlex
import stat

import pytest

from installation import Installation, until

pytestmark = pytest.mark.real
slow = pytest.mark.skipif(not os.environ.get("REVOPS_LONG"), reason="takes long; REVOPS_LONG=1 runs it")

AGENT = """
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Notice, Proposal, Report, Snapshot, agent


class Out(BaseModel):
    industry: str


@agent(writes=Out)
def enrich(lead: Snapshot) -> Proposal:
    print("seen", lead.record)
    Path("var/kept.txt").write_text("what an agent keeps")
    notice = Notice(to="default", subject="seen", body="it", key="k")
    return Proposal(Out(industry="IT"), notices=[notice], reports=[Report("page", "<p>x</p>")])
"""


class Careless(Installation):
    """Every command is started by somebody whose new files everybody may write."""

    def command(self, *words: str) -> list[str]:
        return ["/bin/sh", "-c", f"umask 0; exec {shlex.join(super().command(*words))}"]


@pytest.mark.parametrize("processes", [1, pytest.param(0, marks=slow)])
def test_every_file_in_var_is_its_users_alone(site: Installation, processes: int) -> None:
    careless = Careless(site.root)
    careless.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, processes=processes)
    careless.agent("enrichment", AGENT)
    (careless.root / "var").mkdir(mode=0o755)
    careless.crm("lead", {"l1": {"email": "a@b.example"}})
    try:
        with careless.up():
            until(careless.notices)
            found = {path.relative_to(careless.root): path.lstat() for path in (careless.root / "var").rglob("*")}
            modes = {str(name): stat.S_IMODE(each.st_mode) for name, each in found.items()}
            assert stat.S_IMODE((careless.root / "var").stat().st_mode) == 0o700
    finally:
        careless.end()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    for name in ("redis/redis.sock", "audit/key", "crm.sqlite3", "logs/agents.log", "notices.jsonl", "kept.txt"):
        assert f"var/{name}" in modes
    assert any(name.startswith("var/reports/") for name in modes)
