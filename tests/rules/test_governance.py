"""Whether a proposed value may be written, and which rule says so."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.models import Hold, Mode, Reason
from revops_lite.policy import AgentPolicy, FieldPolicy, Governance, PayPeriod, PayPeriods
from revops_lite.rules.governance import Verdict, active_holds, in_window, judge
from revops_lite.values import replace

NOW = 1_800_000_000.0
AGENT = AgentPolicy("enrichment", "agents.enrichment:enrich")
POLICY = Governance(max_writes_per_record_per_hour=3)
PAYS = "deal.amount pays in the open pay period 2026-10-01 to 2026-12-31; only a person may change it"
FULL = (NOW - 3000, NOW - 2000, NOW - 1000)


def hold(field: str = "*", until: float | None = None) -> dict[str, Hold]:
    return {field: Hold("deal:1", field, "legal", "lawsuit", NOW - 60, until)}


def fields(**settings: Any) -> Governance:
    return replace(POLICY, fields={"deal.amount": FieldPolicy(**settings)})


def paying(*periods: PayPeriod, policy: Governance = POLICY, fields: str = "deal.amount deal.stage") -> Governance:
    return replace(policy, pay=PayPeriods(frozenset(fields.split()), periods))


def quarter(start: float = -9.0, end: float = 9.0, state: bool = True) -> PayPeriod:
    """A period around NOW, in seconds before and after it."""
    return PayPeriod(NOW + start, NOW + end, state, "2026-10-01 to 2026-12-31")


def ask(
    policy: Governance = POLICY,
    agent: AgentPolicy = AGENT,
    confidence: float = 0.9,
    holds: dict[str, Hold] | None = None,
    sent: tuple[float, ...] = (),
    shadow: bool = False,
    field: str = "amount",
) -> Verdict:
    return judge(
        kind="deal",
        field=field,
        value="1200.00",
        confidence=confidence,
        agent=agent,
        policy=policy,
        declared=("amount", "stage", "legal_hold"),
        holds=holds or {},
        sent=sent,
        now=NOW,
        shadow=shadow,
    )


@pytest.mark.parametrize(
    ("verdict", "answer", "reason", "rule"),
    [
        (ask(), "allow", None, "confidence 0.90 reaches 0.80 (auto_write_confidence)"),
        (ask(field="owner"), "deny", None, "owner is not among the fields that enrichment declares"),
        # holds
        (ask(holds=hold()), "withhold", Reason.HELD, "hold on the record by legal: lawsuit"),
        (ask(holds=hold("amount")), "withhold", Reason.HELD, "hold on the field amount by legal: lawsuit"),
        (ask(holds=hold("stage")), "allow", None, "confidence 0.90 reaches 0.80 (auto_write_confidence)"),
        (ask(holds=hold(until=NOW + 1)), "withhold", Reason.HELD, "hold on the record by legal: lawsuit"),
        (ask(holds=hold(until=NOW)), "allow", None, "confidence 0.90 reaches 0.80 (auto_write_confidence)"),
        # mode: the narrowest wins
        (ask(replace(POLICY, mode=Mode.OFF)), "off", None, "mode off of the installation"),
        (ask(agent=replace(AGENT, mode=Mode.OFF)), "off", None, "mode off of agent enrichment"),
        (ask(fields(mode=Mode.OFF)), "off", None, "mode off of field deal.amount"),
        (ask(replace(POLICY, mode=Mode.SHADOW)), "shadow", None, "mode shadow of the installation"),
        (
            ask(fields(mode=Mode.SHADOW), replace(AGENT, mode=Mode.OFF)),
            "shadow",
            None,
            "mode shadow of field deal.amount",
        ),
        (ask(replace(POLICY, mode=Mode.OFF), replace(AGENT, mode=Mode.AUTO)), "allow", None, None),
        (ask(replace(fields(mode=Mode.AUTO), mode=Mode.OFF), replace(AGENT, mode=Mode.REVIEW)), "allow", None, None),
        (ask(shadow=True), "shadow", None, "the run is a shadow run"),
        (ask(fields(mode=Mode.OFF), shadow=True), "off", None, "mode off of field deal.amount"),
        (ask(fields(mode=Mode.REVIEW), shadow=True), "shadow", None, "the run is a shadow run"),
        (ask(fields(mode=Mode.REVIEW)), "withhold", Reason.SENSITIVE, "mode review of field deal.amount"),
        (ask(replace(POLICY, mode=Mode.REVIEW)), "withhold", Reason.SENSITIVE, "mode review of the installation"),
        (ask(fields(sensitive=True)), "withhold", Reason.SENSITIVE, "field deal.amount is sensitive"),
        (ask(fields(sensitive=True, mode=Mode.AUTO)), "withhold", Reason.SENSITIVE, "field deal.amount is sensitive"),
        (ask(fields(sensitive=True, mode=Mode.SHADOW)), "shadow", None, "mode shadow of field deal.amount"),
        (
            ask(replace(POLICY, hold_field="legal_hold"), field="legal_hold"),
            "withhold",
            Reason.SENSITIVE,
            "legal_hold puts records on hold (hold_field): a person sets it",
        ),
        # an open pay period
        (ask(paying(quarter())), "withhold", Reason.SENSITIVE, PAYS),
        (ask(paying(quarter()), confidence=0.1), "withhold", Reason.SENSITIVE, PAYS),
        (ask(paying(quarter(), policy=fields(sensitive=True))), "withhold", Reason.SENSITIVE, PAYS),
        (ask(paying(quarter(), policy=fields(mode=Mode.REVIEW))), "withhold", Reason.SENSITIVE, PAYS),
        (ask(paying(quarter(), policy=fields(mode=Mode.AUTO))), "withhold", Reason.SENSITIVE, PAYS),
        (ask(paying(quarter(state=False))), "allow", None, None),
        (ask(paying()), "allow", None, None),
        (ask(paying(quarter(), fields="lead.amount deal.stage")), "allow", None, None),
        (ask(paying(quarter(-9, -3), quarter(3, 9))), "allow", None, None),
        (ask(paying(quarter(-9, -3), quarter(-3, 9))), "withhold", Reason.SENSITIVE, PAYS),
        (ask(paying(quarter(0, 9))), "withhold", Reason.SENSITIVE, PAYS),
        (ask(paying(quarter(-9, 0))), "allow", None, None),
        (ask(paying(quarter()), holds=hold()), "withhold", Reason.HELD, None),
        (ask(paying(quarter()), shadow=True), "shadow", None, None),
        (ask(paying(quarter(), policy=fields(mode=Mode.OFF))), "off", None, None),
        (ask(paying(quarter(), fields="deal.owner"), field="owner"), "deny", None, None),
        # confidence: the narrowest threshold
        (ask(confidence=0.72), "withhold", Reason.CONFIDENCE, "confidence 0.72 below 0.80 (auto_write_confidence)"),
        (ask(confidence=0.8), "allow", None, "confidence 0.80 reaches 0.80 (auto_write_confidence)"),
        (
            ask(confidence=0.7996),
            "withhold",
            Reason.CONFIDENCE,
            "confidence 0.7996 below 0.8000 (auto_write_confidence)",
        ),
        (ask(confidence=nan), "withhold", Reason.CONFIDENCE, "confidence 0.00 below 0.80 (auto_write_confidence)"),
        (ask(confidence=inf), "withhold", Reason.CONFIDENCE, "confidence 0.00 below 0.80 (auto_write_confidence)"),
        (
            ask(agent=replace(AGENT, confidence=0.95)),
            "withhold",
            Reason.CONFIDENCE,
            "confidence 0.90 below 0.95 (confidence of agent enrichment)",
        ),
        (
            ask(fields(confidence=0.97), replace(AGENT, confidence=0.5)),
            "withhold",
            Reason.CONFIDENCE,
            "confidence 0.90 below 0.97 (confidence of field deal.amount)",
        ),
        (
            ask(fields(confidence=0.1), confidence=0.2),
            "allow",
            None,
            "confidence 0.20 reaches 0.10 (confidence of field deal.amount)",
        ),
        (ask(fields(confidence=0.0), confidence=nan), "allow", None, None),
        # budget
        (
            ask(sent=FULL),
            "withhold",
            Reason.BUDGET,
            "3 writes within the hour, at most 3 (max_writes_per_record_per_hour)",
        ),
        (ask(sent=FULL[1:]), "allow", None, None),
        (ask(sent=(NOW - 3600, *FULL[1:])), "allow", None, None),
        (ask(sent=(NOW - 3599.9, *FULL[1:])), "withhold", Reason.BUDGET, None),
        (ask(replace(POLICY, max_writes_per_record_per_hour=0)), "withhold", Reason.BUDGET, None),
    ],
)
def test_each_rule_says_what_it_decides_and_why(
    verdict: Verdict, answer: str, reason: Reason | None, rule: str | None
) -> None:
    assert (verdict.answer, verdict.reason) == (answer, reason)
    assert rule is None or verdict.rule == rule


def test_the_rules_are_asked_in_their_order() -> None:
    """Everything stands against it; taking away one objection after the other shows the next."""
    off = replace(fields(sensitive=True, confidence=0.99), mode=Mode.OFF)
    auto = replace(off, mode=Mode.AUTO)
    answers = [
        ask(off, confidence=0.1, holds=hold(), sent=FULL, field="owner"),
        ask(off, confidence=0.1, holds=hold(), sent=FULL),
        ask(off, confidence=0.1, sent=FULL),
        ask(replace(off, mode=Mode.SHADOW), confidence=0.1, sent=FULL),
        ask(paying(quarter(), policy=auto), confidence=0.1, sent=FULL),
        ask(auto, confidence=0.1, sent=FULL),
        ask(fields(confidence=0.99), confidence=0.1, sent=FULL),
        ask(sent=FULL),
        ask(),
    ]
    assert [(v.answer, v.reason) for v in answers] == [
        ("deny", None),
        ("withhold", Reason.HELD),
        ("off", None),
        ("shadow", None),
        ("withhold", Reason.SENSITIVE),
        ("withhold", Reason.SENSITIVE),
        ("withhold", Reason.CONFIDENCE),
        ("withhold", Reason.BUDGET),
        ("allow", None),
    ]


def test_holds_end_at_the_moment_they_name() -> None:
    holds = {**hold("*"), **hold("a", NOW), **hold("b", NOW + 1), **hold("c", NOW - 1)}
    assert sorted(active_holds(holds, NOW)) == ["*", "b"]


def test_the_hour_slides() -> None:
    assert in_window((NOW - 3600, NOW - 3599, NOW), NOW) == (NOW - 3599, NOW)
    assert in_window((), NOW) == ()


TIMES = st.lists(st.one_of(st.integers(0, 40).map(lambda n: n * 300.0), st.floats(0, 12_000)), max_size=40)


@given(TIMES, st.integers(0, 4))
def test_no_sliding_hour_ever_holds_more_writes_than_the_budget(times: list[float], most: int) -> None:
    """In whatever order the clock shows these times: it may be set back."""
    policy = replace(POLICY, max_writes_per_record_per_hour=most)
    sent: list[float] = []
    for now in times:
        verdict = judge(
            kind="deal",
            field="amount",
            value=1,
            confidence=1.0,
            agent=AGENT,
            policy=policy,
            declared=("amount",),
            holds={},
            sent=sent,
            now=now,
        )
        if verdict.answer == "allow":
            sent.append(now)
    for end in sent:
        assert sum(0 <= end - at < 3600.0 for at in sent) <= most


@given(TIMES, st.integers(1, 4))
def test_forgetting_what_is_an_hour_old_changes_no_answer(times: list[float], most: int) -> None:
    kept: tuple[float, ...] = ()
    everything: tuple[float, ...] = ()
    for now in sorted(times):
        kept = in_window(kept, now)
        assert (len(kept) < most) == (len(in_window(everything, now)) < most)
        if len(kept) < most:
            kept, everything = (*kept, now), (*everything, now)


ANY = st.floats()
HOLDS = st.dictionaries(st.sampled_from(["*", "amount", "stage"]), st.one_of(st.none(), ANY), max_size=3)


@given(
    declared=st.booleans(),
    confidence=ANY,
    threshold=st.one_of(st.none(), ANY),
    modes=st.tuples(*[st.one_of(st.none(), st.sampled_from(Mode))] * 3),
    sensitive=st.booleans(),
    untils=HOLDS,
    sent=st.lists(ANY, max_size=4),
    shadow=st.booleans(),
    periods=st.lists(st.builds(quarter, st.floats(-9, 9), st.floats(-9, 9), st.booleans()), max_size=3),
)
def test_nothing_is_allowed_against_any_rule(
    declared: bool,
    confidence: float,
    threshold: float | None,
    modes: tuple[Mode | None, Mode | None, Mode | None],
    sensitive: bool,
    untils: dict[str, float | None],
    sent: list[float],
    shadow: bool,
    periods: list[PayPeriod],
) -> None:
    field_mode, agent_mode, mode = modes
    rules = FieldPolicy(mode=field_mode, confidence=threshold, sensitive=sensitive)
    policy = Governance(max_writes_per_record_per_hour=2, mode=mode or Mode.AUTO, fields={"deal.amount": rules})
    policy = paying(*periods, policy=policy)
    verdict = judge(
        kind="deal",
        field="amount",
        value=None,
        confidence=confidence,
        agent=replace(AGENT, mode=agent_mode),
        policy=policy,
        declared=("amount",) if declared else (),
        holds={name: Hold("deal:1", name, "x", "y", 0.0, until) for name, until in untils.items()},
        sent=sent,
        now=NOW,
        shadow=shadow,
    )
    assert verdict.rule
    assert (verdict.reason is not None) == (verdict.answer == "withhold")
    if verdict.answer == "allow":
        held = [u for name, u in untils.items() if name in ("*", "amount") and (u is None or u > NOW)]
        assert declared
        assert not held
        assert not sensitive
        assert not shadow
        assert not any(period.open and period.start <= NOW < period.end for period in periods)
        assert (field_mode or agent_mode or mode or Mode.AUTO) is Mode.AUTO
        assert (confidence if abs(confidence) < inf else 0.0) >= (0.8 if threshold is None else threshold)
        assert sum(NOW - 3600 < at <= NOW for at in sent) < 2
