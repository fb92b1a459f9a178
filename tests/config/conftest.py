"""A small installation in tmp_path: four agents and whatever config.toml a test writes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from revops_lite.config import Examined, examine

Examine = Callable[[str], Examined]

AGENTS = {
    "enrichment": "industry numberofemployees annualrevenue",
    "scoring": "revops_fit amount",
    "routing": "hubspot_owner_id",
    "lead_alert": "",
    "deal_inspection": "revops_risk_level",
    "forecasting": "revops_win_probability",
    "risk_alert": "",
    "comp_audit": "",
}
FUNCTIONS = {"enrichment": "enrich"}


def write_agent(root: Path, name: str, fields: str) -> None:
    """agents/<name>.py with one agent `run` (or its own word) that declares `fields`."""
    body = "\n".join(f"    {field}: str | None = None" for field in fields.split())
    writes = f"class Out(BaseModel):\n{body}\n\n@agent(writes=Out)" if body else "@agent"
    text = (
        "from pydantic import BaseModel\nfrom revops_lite import agent\n\n"
        f"{writes}\ndef {FUNCTIONS.get(name, 'run')}(snapshot):\n    return None\n"
    )
    (root / "agents").mkdir(exist_ok=True)
    (root / "agents" / f"{name}.py").write_text(text)


@pytest.fixture(autouse=True)
def _own_imports() -> Iterator[None]:
    """What a test imports as `agents` is forgotten after it."""
    path = list(sys.path)
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "agents"}
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "agents"]:
        del sys.modules[name]
    sys.modules.update(ours)


@pytest.fixture
def agent_file() -> Callable[..., None]:
    return write_agent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, fields in AGENTS.items():
        write_agent(tmp_path, name, fields)
    return tmp_path


@pytest.fixture
def examined(root: Path, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Examine a text as config.toml; files in findings are called just that."""
    monkeypatch.chdir(root)

    def examine_text(text: str) -> Examined:
        (root / "config.toml").write_text(text)
        return examine(Path("config.toml"))

    return examine_text
