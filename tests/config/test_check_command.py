"""`revops check`: what is configured, or what is wrong with it; 6 with findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from revops_lite.cli.config_cmds import check
from revops_lite.errors import ConfigError

GOOD = """timezone = "UTC"
[redis]
url = "redis://localhost:6379/0"
durability = "everysec"
[agents.scoring]
entry = "agents.scoring:run"
[agents.alert]
entry = "agents.lead_alert:run"
[workflows.new_lead]
on = "lead.created"
deadline = "90s"
steps = [{ agent = "scoring" }, { agent = "alert" }]
"""


@pytest.fixture
def path(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(root)
    Path("config.toml").write_text(GOOD)
    return Path("config.toml")


def test_a_right_configuration_is_shown_line_by_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(path, json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok    config.toml              UTC, redis redis, crm sqlite",
        "ok    agents.scoring           writes revops_fit, amount",
        "ok    agents.alert             writes no field",
        "ok    workflows.new_lead       2 steps, on lead.created, deadline 1m30s",
        "ok    notify.channels.console  console",
        "warn  redis.durability: only the embedded server obeys it; set appendfsync on your own server",
    ]


def test_findings_are_printed_one_a_line_and_end_with_six(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(GOOD.replace('"alert" }]', '"alart" }]\nincludes = 1'))
    assert check(path, json=False) == 6
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "config.toml:12: workflows.new_lead.steps[1].agent: unknown agent 'alart'; did you mean 'alert'?",
        "config.toml:13: workflows.new_lead.includes: unknown key 'includes'; did you mean 'include'?",
    ]
    assert err == "2 findings\n"


def test_as_json_a_finding_is_an_item_with_its_file_line_and_key(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(path, json=True) == 0
    (warning,) = json.loads(capsys.readouterr().out)["items"]
    assert (warning["state"], warning["key"]) == ("warn", "redis.durability")
    path.write_text(GOOD + "[workers]\nthreads = 0\n")
    assert check(path, json=True) == 6
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "items": [
            {
                "state": "fail",
                "file": "config.toml",
                "line": 14,
                "key": "workers.threads",
                "problem": "must be at least 1, not 0",
            }
        ],
    }


def test_without_a_file_it_is_an_error_and_no_finding(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        check(tmp_path / "config.toml", json=False)
