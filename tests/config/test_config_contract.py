"""The example that the documentation shows loads as it stands, and means what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from revops_lite.config import Settings, load
from revops_lite.models import Mode
from revops_lite.policy import BreakerPolicy, FieldPolicy, Over

EXAMPLE = Path(__file__).with_name("example.toml")


@pytest.fixture
def settings(root: Path) -> Settings:
    shutil.copy(EXAMPLE, root / "config.toml")
    return load(root / "config.toml")


def test_the_documented_example_loads_without_a_warning(settings: Settings, root: Path) -> None:
    assert (settings.path, settings.root, settings.timezone) == (root / "config.toml", root, "America/New_York")
    assert settings.warnings == ()
    assert (settings.redis.url, settings.redis.durability, settings.redis.allow_weak) == ("embedded", "always", False)
    assert (settings.workers.processes, settings.workers.threads) == (1, 16)


def test_the_crm_and_the_channels_have_absolute_paths_and_references_instead_of_secrets(
    settings: Settings, root: Path
) -> None:
    assert settings.crm.path == root / "var/crm.sqlite3"
    assert (settings.crm.poll, settings.crm.token, settings.crm.options) == (10.0, "env:HUBSPOT_TOKEN", {})
    assert settings.crm.relations == {"lead.company_id": "company", "activity.deal_id": "deal"}
    assert set(settings.notify.channels) == {"console", "sales"}
    assert settings.notify.channels["sales"].url == "env:SLACK_WEBHOOK_URL"
    assert settings.notify.dedupe == 30 * 86400.0


def test_an_agent_becomes_a_policy_with_the_schema_that_its_file_declares(settings: Settings) -> None:
    agent = settings.agents["enrichment"]
    assert agent.schema is not None
    assert list(agent.schema.model_fields) == ["industry", "numberofemployees", "annualrevenue"]
    assert (agent.name, agent.entry, agent.priority) == ("enrichment", "agents.enrichment:enrich", 40)
    assert (agent.timeout, agent.attempts, agent.settings) == (20.0, 3, {"min_sources": 1})
    assert agent.breaker == BreakerPolicy(failures=5, cooldown=300.0)
    assert settings.agents["lead_alert"].schema is None


def test_governance_is_taken_over_word_for_word(settings: Settings) -> None:
    governance = settings.governance
    assert governance is settings.rulebook.governance
    assert (governance.mode, governance.hold_field, governance.human_wins_for) == (Mode.AUTO, "legal_hold", 2592000.0)
    assert governance.fields == {
        "deal.amount": FieldPolicy(mode=Mode.REVIEW),
        "company.annualrevenue": FieldPolicy(confidence=0.9, sensitive=True),
    }


def test_each_step_follows_the_one_above_it_unless_it_says_otherwise(settings: Settings) -> None:
    new_lead, review = settings.workflows["new_lead"], settings.workflows["deal_review"]
    assert [(step.name, step.after) for step in new_lead.steps] == [
        ("enrichment", ()),
        ("scoring", ("enrichment",)),
        ("routing", ("scoring",)),
        ("lead_alert", ("routing",)),
    ]
    assert (new_lead.on, new_lead.deadline, new_lead.include) == (("lead.created",), 90.0, ("company",))
    assert (review.cron, review.missed, review.over) == ("0 6 * * *", "latest", Over("deal", {"is_closed": False}))
    assert [(step.when, step.gather) for step in review.steps] == [
        (None, None),
        ("flagged", None),
        (None, "owner"),
        ("flagged", "all"),
    ]


def test_agents_with_the_same_variables_share_a_queue_and_the_others_do_not(root: Path) -> None:
    text = 'timezone = "UTC"\n'
    for name, env in (("a", ""), ("b", '"X", "Y"'), ("c", '"Y", "X"'), ("d", '"X"')):
        text += f'[agents.{name}]\nentry = "agents.scoring:run"\nenv = [{env}]\n'
    (root / "config.toml").write_text(text)
    queues = {name: agent.queue for name, agent in load(root / "config.toml").agents.items()}
    assert queues["a"] == "agents"
    assert queues["b"] == queues["c"] != queues["d"]
    assert all(queue.startswith("agents-") and len(queue) == 15 for name, queue in queues.items() if name != "a")


def test_a_time_zone_is_all_that_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('timezone = "UTC"')
    settings = load(tmp_path / "config.toml")
    assert (settings.crm.adapter, settings.crm.path) == ("sqlite", tmp_path / "var/crm.sqlite3")
    assert {name: channel.kind for name, channel in settings.notify.channels.items()} == {"console": "console"}
    assert (settings.notify.default, settings.notify.ops, settings.rulebook.ops_channel) == ("console",) * 3
    assert (settings.rulebook.has_crm, settings.rulebook.agents, settings.rulebook.workflows) == (True, {}, {})


def test_what_is_less_common_is_understood_too(root: Path) -> None:
    (root / "config.toml").write_text("""
timezone = "UTC"
[crm]
adapter = "my_crm.client:Crm"
page = 50
[notify]
default = "sales"
dedupe = "1d"
[notify.channels.sales]
kind = "file"
path = "out/sales.jsonl"
[notify.channels.mail]
kind = "email"
host = "mail.example.com"
from = "revops@example.com"
to = "ops@example.com"
[review]
expires = { confidence = "7d" }
[governance]
max_hops = 3
[governance.fields."deal.amount"]
priority = ["second", "scoring"]
minimum = 0
maximum = 1e9
[agents.scoring]
entry = "agents.scoring:run"
mode = "shadow"
confidence = 0.5
breaker = { failures = 3, within = "10m" }
settings = { since = 2026-01-31, weights = [1, 2.5] }
[agents.second]
entry = "agents.scoring:run"
[workflows.twice]
on = ["lead.created", "scoring.complete"]
on_failure = "rollback"
steps = [
  { agent = "second" },
  { agent = "second", name = "again", after = "second", optional = true, wait_for_review = true },
  { agent = "second", name = "aside", after = [] },
]
[workflows.by_hand]
over = { kind = "deal" }
steps = [{ agent = "scoring" }]
""")
    settings = load(root / "config.toml")
    assert settings.crm.options == {"page": 50}
    assert settings.notify.channels["sales"].path == root / "out/sales.jsonl"
    assert (settings.notify.ops, settings.rulebook.ops_channel, settings.rulebook.dedupe) == ("sales", "sales", 86400.0)
    assert settings.notify.channels["mail"].sender == "revops@example.com"
    assert settings.notify.channels["mail"].to == ("ops@example.com",)
    assert settings.rulebook.review_expires == {"confidence": 604800.0}
    assert settings.rulebook.max_hops == 3
    assert settings.governance.fields["deal.amount"] == FieldPolicy(
        priority=("second", "scoring"), minimum=0.0, maximum=1e9
    )
    agent = settings.agents["scoring"]
    assert (agent.mode, agent.confidence, agent.breaker.within) == (Mode.SHADOW, 0.5, 600.0)
    assert agent.settings == {"since": "2026-01-31", "weights": [1, 2.5]}
    twice = settings.workflows["twice"]
    assert (twice.on, twice.on_failure) == (("lead.created", "scoring.complete"), "rollback")
    assert [(step.name, step.after) for step in twice.steps] == [("second", ()), ("again", ("second",)), ("aside", ())]
    assert (twice.steps[1].optional, twice.steps[1].wait_for_review) == (True, True)
    assert settings.workflows["by_hand"].over == Over("deal", {})


def test_without_agents_nothing_of_theirs_is_imported(root: Path) -> None:
    (root / "agents" / "scoring.py").write_text("raise RuntimeError('imported')")
    text = (
        'timezone = "UTC"\n[agents.scoring]\nentry = "agents.scoring:run"\n[governance.fields."deal.x"]\nconfidence = 1'
    )
    (root / "config.toml").write_text(text)
    assert load(root / "config.toml", agents=False).agents["scoring"].schema is None


def test_what_is_probably_not_meant_is_warned_about_but_loads(root: Path) -> None:
    (root / "config.toml").write_text("""
timezone = "UTC"
redis = { url = "redis://localhost:6379/0", durability = "everysec" }
workers.processes = 0
[agents.scoring]
entry = "agents.scoring:run"
env = ["KEY"]
[workflows.loop]
on = "scoring.complete"
steps = [{ agent = "scoring" }]
""")
    warnings = load(root / "config.toml").warnings
    assert [warning.partition(":")[0] for warning in warnings] == [
        "redis.durability",
        "workers.processes",
        "workflows.loop.on",
    ]
