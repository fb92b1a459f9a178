"""What the controller makes of the sealer's reports."""

from __future__ import annotations

from revops_lite.engine import State, decide
from revops_lite.engine.ids import notice_id
from revops_lite.models import Event
from revops_lite.policy import Rulebook

RULES = Rulebook({}, {}, ops_channel="ops")
HEAD = {"day": "2026-01-02", "seq": 12, "mac": "ab" * 32, "to": "safe"}


def test_the_days_head_becomes_one_notice() -> None:
    key = "audit-anchor|2026-01-02"
    state = State(docs={("notice", notice_id(key)): None})
    event = Event(key, "audit.anchored", "audit:trail", "sealer", 1.0, HEAD)
    changes = decide(state, RULES, event, 2.0)
    (notice,) = changes.docs.values()
    assert (notice.key, notice.to, notice.state) == (key, "safe", "planned")
    assert notice.body.startswith(f"12:{'ab' * 32}\n")
    assert [(entry.what, entry.who, entry.note) for entry in changes.audit] == [
        ("audit.anchored", "sealer", f"12:{'ab' * 32}")
    ]
    state.apply(changes)
    assert decide(state, RULES, event, 3.0).docs == {}


def test_a_sealer_in_trouble_is_told_to_the_ops_channel() -> None:
    key = "audit-alarm|2026-01-02|abc"
    state = State(docs={("notice", notice_id(key)): None})
    event = Event(key, "audit.alarm", "audit:trail", "sealer", 1.0, {"why": "no space left"})
    changes = decide(state, RULES, event, 2.0)
    (notice,) = changes.docs.values()
    assert (notice.key, notice.to, notice.body) == (key, "ops", "no space left")
    assert [entry.what for entry in changes.audit] == ["audit.alarm"]
