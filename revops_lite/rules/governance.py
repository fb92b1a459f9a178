"""Governance: whether one proposed value may be written to the CRM, and the rule that says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, Literal

from msgspec import Struct

from revops_lite.models import Hold, Mode, Reason
from revops_lite.policy import AgentPolicy, FieldPolicy, Governance, PayPeriods

HOUR = 3600.0
UNRULED = FieldPolicy()  # of a field that the configuration does not name
Answer = Literal["allow", "withhold", "deny", "shadow", "off"]


class Verdict(Struct, frozen=True):
    """`allow`: write it. `withhold`: a person decides, for `reason`. `deny`: never. `shadow`, `off`: only recorded.

    `rule` is a sentence fragment that names the setting and the figures.
    """

    answer: Answer
    reason: Reason | None
    rule: str


def judge(
    *,
    kind: str,
    field: str,
    value: Any,
    confidence: float,
    agent: AgentPolicy,
    policy: Governance,
    declared: Collection[str],
    holds: Mapping[str, Hold],
    sent: Sequence[float],
    now: float,
    shadow: bool = False,
) -> Verdict:
    """Answer for one field; the first rule that has something to say decides.

    Undeclared field, hold, mode off or shadow, open pay period, sensitive or mode review, confidence, write budget,
    allow.
    `declared` are the fields of the agent's output schema, `holds` the record's by field ("*": all of them), `sent`
    the decision times of the record's CRM write calls; `shadow` is the run's. Never raises.
    """
    del value  # no rule looks at it: what it may be is the checkpoint's business
    rules = policy.fields.get(f"{kind}.{field}", UNRULED)
    if field not in declared:
        return Verdict("deny", None, f"{field} is not among the fields that {agent.name} declares")
    return (
        _held(field, active_holds(holds, now))
        or _only_recorded(kind, field, rules, agent, policy, shadow)
        or _by_pay(f"{kind}.{field}", policy.pay, now)
        or _by_person(kind, field, rules, agent, policy)
        or _by_confidence(kind, field, confidence, rules, agent, policy)
        or _by_budget(in_window(sent, now), policy.max_writes_per_record_per_hour)
        or Verdict("allow", None, _allowed(kind, field, confidence, rules, agent, policy))
    )


def active_holds(holds: Mapping[str, Hold], now: float) -> dict[str, Hold]:
    """The holds that stand at `now`, by field; one ends at the very moment of its `until`."""
    return {name: hold for name, hold in holds.items() if hold.until is None or not hold.until <= now}


def in_window(sent: Sequence[float], now: float) -> tuple[float, ...]:
    """The times that count towards the budget at `now`: less than an hour away.

    Later than `now` counts too: a clock that was set back must not open the budget again.
    """
    return tuple(at for at in sent if abs(now - at) < HOUR)


def _held(field: str, holds: Mapping[str, Hold]) -> Verdict | None:
    for name, where in (("*", "record"), (field, f"field {field}")):
        hold = holds.get(name)
        if hold is not None:
            return Verdict("withhold", Reason.HELD, f"hold on the {where} by {hold.by}: {hold.reason}")
    return None


def _only_recorded(
    kind: str, field: str, rules: FieldPolicy, agent: AgentPolicy, policy: Governance, shadow: bool
) -> Verdict | None:
    mode, where = _mode(kind, field, rules, agent, policy)
    if mode is Mode.OFF:
        return Verdict("off", None, f"mode off of {where}")
    if shadow or mode is Mode.SHADOW:
        return Verdict("shadow", None, "the run is a shadow run" if shadow else f"mode shadow of {where}")
    return None


def _by_pay(name: str, pay: PayPeriods | None, now: float) -> Verdict | None:
    """What counts is when the value would be changed, not which period the record itself falls into."""
    if pay is None or name not in pay.fields:
        return None
    period = next((each for each in pay.periods if each.open and each.start <= now < each.end), None)
    if period is None:
        return None
    rule = f"{name} pays in the open pay period {period.label}; only a person may change it"
    return Verdict("withhold", Reason.SENSITIVE, rule)


def _by_person(kind: str, field: str, rules: FieldPolicy, agent: AgentPolicy, policy: Governance) -> Verdict | None:
    mode, where = _mode(kind, field, rules, agent, policy)
    if rules.sensitive:
        return Verdict("withhold", Reason.SENSITIVE, f"field {kind}.{field} is sensitive")
    if mode is Mode.REVIEW:
        return Verdict("withhold", Reason.SENSITIVE, f"mode review of {where}")
    if field == policy.hold_field:
        return Verdict("withhold", Reason.SENSITIVE, f"{field} puts records on hold (hold_field): a person sets it")
    return None


def _mode(kind: str, field: str, rules: FieldPolicy, agent: AgentPolicy, policy: Governance) -> tuple[Mode, str]:
    if rules.mode is not None:
        return rules.mode, f"field {kind}.{field}"
    if agent.mode is not None:
        return agent.mode, f"agent {agent.name}"
    return policy.mode, "the installation"


def _by_confidence(
    kind: str, field: str, confidence: float, rules: FieldPolicy, agent: AgentPolicy, policy: Governance
) -> Verdict | None:
    given = _known(confidence)
    threshold, where = _threshold(kind, field, rules, agent, policy)
    if given >= threshold:
        return None
    low, high = _apart(given, threshold)
    return Verdict("withhold", Reason.CONFIDENCE, f"confidence {low} below {high} ({where})")


def _threshold(kind: str, field: str, rules: FieldPolicy, agent: AgentPolicy, policy: Governance) -> tuple[float, str]:
    if rules.confidence is not None:
        return rules.confidence, f"confidence of field {kind}.{field}"
    if agent.confidence is not None:
        return agent.confidence, f"confidence of agent {agent.name}"
    return policy.auto_write_confidence, "auto_write_confidence"


def _by_budget(counted: Sequence[float], most: int) -> Verdict | None:
    if len(counted) < most:
        return None
    rule = f"{len(counted)} writes within the hour, at most {most} (max_writes_per_record_per_hour)"
    return Verdict("withhold", Reason.BUDGET, rule)


def _allowed(
    kind: str, field: str, confidence: float, rules: FieldPolicy, agent: AgentPolicy, policy: Governance
) -> str:
    threshold, where = _threshold(kind, field, rules, agent, policy)
    low, high = _apart(threshold, _known(confidence))
    return f"confidence {high} reaches {low} ({where})"


def _known(confidence: float) -> float:
    """Whoever does not say how sure they are is not sure at all."""
    return confidence if isfinite(confidence) else 0.0


@lru_cache(maxsize=1024)  # asked for every value
def _apart(one: float, other: float) -> tuple[str, str]:
    """Both with two digits, or as many as it takes to tell them apart: 0.7996 is not "0.80 below 0.80"."""
    for digits in range(2, 17):
        texts = f"{one:.{digits}f}", f"{other:.{digits}f}"
        if texts[0] != texts[1] or one == other:
            return texts
    return repr(one), repr(other)
