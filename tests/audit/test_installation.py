"""`revops audit` on a whole installation, while `up` runs, after it, and after kills."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from installation import REPOSITORY, Installation, lines_of, until
from revops_lite.store import keys

AGENT = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent

class Out(BaseModel):
    industry: str
    revenue: int

@agent(writes=Out)
def enrich(lead: Snapshot) -> Proposal:
    if lead.id == "l2":
        return Proposal({"industry": "IT", "revenue": "424242 and more"}, confidence=0.99)
    return Proposal(Out(industry="=IT", revenue=424242), confidence=0.99, because="known")
"""
MASK = """
[governance.fields."lead.revenue"]
sensitive = true
[audit]
anchor = "file"
"""


@pytest.fixture
def made(site: Installation) -> Installation:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, extra=MASK)
    site.agent("enrichment", AGENT)
    site.crm("lead", {f"l{number}": {"email": f"{number}@b.example"} for number in range(3)})
    return site


def trail(site: Installation) -> list[Path]:
    return sorted((site.root / "var" / "audit").glob("2*.jsonl"))


def caught_up(site: Installation) -> bool:
    with site.redis() as client:
        newest = client.xrevrange(keys.AUDIT, count=1)[0][0].decode()
        sealed = json.loads(client.get(keys.SEALED) or b"{}").get("id")
    return bool(newest == sealed)


def size(site: Installation) -> int:
    return sum(path.stat().st_size for path in trail(site))


def grown(site: Installation, before: int) -> bool:
    return size(site) > before


def settled(site: Installation) -> None:
    until(site.settled)
    until(lambda: caught_up(site))


def test_everything_is_sealed_verified_and_exported(made: Installation) -> None:
    with made.up() as up:
        settled(made)
        while_up = made.revops("audit", "verify", "--json").json()
        assert (while_up["ok"], while_up["first_bad"], while_up["findings"]) == (True, None, [])
        assert up.stop() == 0
    after = made.revops("audit", "verify", "--json").json()
    assert after["ok"]
    assert after["entries"] == after["stream"]["compared"] >= while_up["entries"] > 10
    assert after["stream"]["unsealed"] == 0
    listed = made.audit()
    exported = [json.loads(line) for line in made.revops("audit", "export").out.splitlines()]
    assert [row["seq"] for row in exported] == list(range(1, after["entries"] + 1))
    assert [row["what"] for row in exported] == [entry["what"] for entry in reversed(listed)]


def test_the_page_says_how_to_check_the_chain_without_this_program(made: Installation) -> None:
    page = (REPOSITORY / "docs" / "audit.md").read_text("utf-8")
    (program,) = re.findall(r"<!-- test: independent -->\n```python\n(.*?)```", page, re.DOTALL)
    with made.up() as up:
        settled(made)
        up.stop()
    words = [sys.executable, "-I", "-c", program]
    subprocess.run(words, cwd=made.root, check=True)
    (path,) = trail(made)
    path.write_bytes(path.read_bytes().replace(b"=IT", b"=XX", 1))
    assert subprocess.run(words, cwd=made.root, capture_output=True, check=False).returncode == 1


def test_an_export_masks_what_is_sensitive_and_harms_no_spreadsheet(made: Installation) -> None:
    with made.up():
        settled(made)
    out = made.root / "audit.csv"
    made.revops("audit", "export", "--format", "csv", "--output", str(out), "--record", "lead:l1")
    assert out.stat().st_mode & 0o777 == 0o600
    text = out.read_text("utf-8")
    assert "424242" not in text
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["after"]]
    assert {row["record"] for row in rows} == {"lead:l1"}
    assert {row["after"] for row in rows if row["field"] == "revenue"} == {"•••"}
    assert "(got •••)" in made.revops("audit", "export", "--what", "step.quarantined").out
    assert {row["after"] for row in rows if row["field"] == "industry"} == {"'=IT"}
    who = [json.loads(line)["who"] for line in made.revops("audit", "export", "--who", "enrichment").out.splitlines()]
    assert set(who) == {"enrichment"}
    assert "csv or jsonl" in made.revops("audit", "export", "--format", "xml", code=2).err


def test_a_changed_file_and_a_changed_stream_are_found_with_exit_code_6(made: Installation) -> None:
    with made.up() as up:
        settled(made)
        up.stop()
    (path,) = trail(made)
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    number = next(at for at, line in enumerate(lines, 1) if b'"write.applied"' in line)
    path.write_bytes(good.replace(lines[number - 1], lines[number - 1].replace(b"=IT", b"=XX")))
    found = made.revops("audit", "verify", "--json", code=6).json()
    assert (found["ok"], found["first_bad"]["line"], found["first_bad"]["kind"]) == (False, number, "changed")
    told = made.revops("audit", "verify", code=6)
    assert f"{path.name}:{number}: " in told.out
    assert "NOT OK" in told.out
    path.write_bytes(good)
    made.revops("audit", "verify")
    with made.up():
        with made.redis() as client:
            client.xdel(keys.AUDIT, client.xrange(keys.AUDIT, count=1)[0][0])
        found = made.revops("audit", "verify", "--json", code=6).json()
    assert found["first_bad"]["kind"] == "stream"
    made.revops("audit", "verify", "--files-only")


def test_the_days_head_is_sent_and_tells_when_the_end_has_been_cut_off(made: Installation) -> None:
    with made.up() as up:
        settled(made)
        until(lambda: [notice for notice in made.notices() if notice["key"].startswith("audit-anchor|")])
        up.stop()
    notice, *_ = [notice for notice in made.notices() if notice["key"].startswith("audit-anchor|")]
    assert re.fullmatch(r"audit-anchor\|\d{4}-\d{2}-\d{2}", notice["key"])
    anchor = notice["body"].splitlines()[0]
    made.revops("audit", "verify", "--anchor", anchor)
    seq = int(anchor.partition(":")[0])
    (path,) = trail(made)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: seq - 1]))
    (made.root / "var" / "audit" / "anchors.jsonl").unlink()
    found = made.revops("audit", "verify", "--files-only", "--anchor", anchor, "--json", code=6).json()
    assert [finding["kind"] for finding in found["findings"]] == ["truncated"]
    made.revops("audit", "verify", "--anchor", "nonsense", code=2)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_killed_up_leaves_a_trail_that_goes_on(made: Installation, processes: int) -> None:
    made.configure(
        {"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, processes=processes, durability="always", extra=MASK
    )
    for round_ in range(3):
        with made.up() as up:
            before = size(made)
            made.revops("emit", "lead.created", "lead:l1", "--id", f"again-{round_}")
            until(partial(grown, made, before))
            up.kill()
    with made.up() as up:
        settled(made)
        up.stop()
    found = made.revops("audit", "verify", "--json").json()
    assert (found["findings"], found["stream"]["unsealed"]) == ([], 0)
    assert found["entries"] == found["stream"]["compared"]


def test_up_refuses_to_begin_anew_where_the_trail_knows_better(made: Installation) -> None:
    with made.up() as up:
        settled(made)
        up.stop()
    shutil.rmtree(made.root / "var" / "redis")
    told = made.revops("up", "--until-idle", code=1)
    assert "Redis is empty, but" in told.err
    assert "move var/audit away" in told.err
    (made.root / "var" / "audit").rename(made.root / "audit-before")
    made.revops("up", "--until-idle")
    assert made.revops("audit", "verify", "--json").json()["ok"]


def test_a_trail_that_was_deleted_is_a_finding_and_the_next_one_is_told_to_ops(made: Installation) -> None:
    with made.up() as up:
        settled(made)
        up.stop()
    shutil.rmtree(made.root / "var" / "audit")
    found = made.revops("audit", "verify", "--json", code=6).json()
    assert [finding["kind"] for finding in found["findings"]] == ["truncated"]
    with made.up() as up:
        settled(made)
        until(lambda: [notice for notice in made.notices() if "a new trail begins" in notice["body"]])
        up.stop()
    assert made.revops("audit", "verify", "--json").json()["ok"]


def test_without_its_key_a_trail_is_neither_verified_nor_continued(made: Installation) -> None:
    with made.up() as up:
        settled(made)
        up.stop()
    key = made.root / "var" / "audit" / "key"
    key.rename(made.root / "key-elsewhere")
    assert "put it back from a backup" in made.revops("audit", "verify", code=1).err
    assert "put it back from a backup" in made.revops("up", "--until-idle", code=1).err
    (made.root / "config.toml").write_text(
        (made.root / "config.toml").read_text().replace("[audit]", '[audit]\nkey = "file:key-elsewhere"')
    )
    made.revops("audit", "verify")


def test_a_list_goes_on_in_the_files_where_redis_has_forgotten(made: Installation) -> None:
    with made.up():
        settled(made)
        all_of_it = made.audit("--since", "1d")
        with made.redis() as client:
            client.xtrim(keys.AUDIT, maxlen=4, approximate=False)
        assert made.audit("--since", "1d") == made.audit() == all_of_it
        assert made.audit("--limit", "6") == all_of_it[:6]
        assert made.audit("--what", all_of_it[-1]["what"])[-1] == all_of_it[-1]


def test_before_the_first_up_there_is_nothing_to_verify(site: Installation) -> None:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", AGENT)
    assert "nothing has been sealed here yet" in site.revops("audit", "verify", code=1).err
    assert site.revops("audit", "export").out == ""


def test_a_setting_of_the_trail_that_is_wrong_is_told(site: Installation) -> None:
    wrong = '[audit]\nanchor = "nowhere"\nkey = "the secret itself"\n'
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, extra=wrong)
    site.agent("enrichment", AGENT)
    found = site.revops("check", "--json", code=6)
    told = {finding["key"]: finding["problem"] for finding in found.items()}
    assert "unknown channel" in told["audit.anchor"]
    assert "env:NAME" in told["audit.key"]
    assert "the secret itself" not in found.out + found.err


def test_anchors_are_kept_at_each_stop(made: Installation) -> None:
    for _ in range(2):
        with made.up() as up:
            settled(made)
            up.stop()
    said = lines_of(made.root / "var" / "audit" / "anchors.jsonl")
    assert [line["why"] for line in said].count("daily") in (1, 2)  # midnight may have passed
    assert [line["why"] for line in said].count("stop") == 2
