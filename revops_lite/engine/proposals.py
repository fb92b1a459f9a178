"""An agent's answer taken in: its values field by field, its flags, notices and reports."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from revops_lite.engine import effects, fields, ids
from revops_lite.engine.state import Draft
from revops_lite.models import Flag, OpenFlag, OutNotice, Run, Step, Write, WriteState
from revops_lite.rules import dedupe, flow, masking
from revops_lite.values import replace

BODY_KEPT = 1_000_000
BECAUSE_KEPT = 20_000


# ---- reading an agent's answer -----------------------------------------------------------------------------------


def merged(outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """All values of an answer in one mapping; a name used for two records keeps the first."""
    values: dict[str, Any] = {}
    for output in outputs:
        for name, value in (output.get("values") or {}).items():
            values.setdefault(str(name), value)
    return values


def confidences(outputs: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for output in outputs:
        for name in output.get("values") or {}:
            found.setdefault(str(name), confidence_of(output, str(name)))
    return found


def reasons(outputs: list[dict[str, Any]]) -> str:
    """Why an agent says all this, each reason once."""
    said = dict.fromkeys(str(output["because"]) for output in outputs if output.get("because"))
    return "; ".join(said)[:BECAUSE_KEPT]


def confidence_of(output: dict[str, Any], name: str) -> float:
    given = output.get("confidence")
    if isinstance(given, dict):
        given = given.get(name, given.get("*", 1.0))
    sure = float(given) if given is not None else 1.0
    return sure if isfinite(sure) else 0.0


# ---- accepting it ------------------------------------------------------------------------------------------------


def accept(draft: Draft, run: Run, step: Step, outputs: list[dict[str, Any]]) -> tuple[Run, list[str]]:
    """Fold a checked answer in. Returns the run and the ids of the review items that came of it."""
    waiting: list[str] = []
    allowed: dict[str, list[Write]] = {}
    beside = flow.concurrent(run.steps, step.name)
    for output in outputs:
        record = str(output.get("target") or run.record)
        for name, value in output["values"].items():
            asked = fields.Asked(record, name, value, confidence_of(output, name), str(output.get("because") or ""))
            fate = fields.settle(draft, run, step, beside, asked)
            run = fate.run
            if fate.intents:
                run = replace(run, effects=(*run.effects, *fate.intents))
            if fate.write is not None:
                run = replace(run, writes=(*run.writes, fate.write.id))
                if fate.write.state is WriteState.PLANNED:
                    allowed.setdefault(record, []).append(fate.write)
            if fate.review is not None:
                run = replace(run, reviews=(*run.reviews, fate.review))
                waiting.append(fate.review)
        _flags(draft, record, step.agent, run.id, output)
        run = _messages(draft, run, step, record, output)
    for record, writes in allowed.items():
        intent = effects.plan(draft, record, step.agent, writes, run.id, run.id, step.name, str(step.attempt))
        if intent is not None:
            run = replace(run, effects=(*run.effects, intent))
    draft.put(run)
    return run, waiting


# ---- flags, notices, reports -------------------------------------------------------------------------------------


def _flags(draft: Draft, record: str, agent: str, run: str, output: dict[str, Any]) -> None:
    """A flag is open once per record and code, whoever raises it; one that was cleared and comes back is new.

    What its own agent says of it now ("16 days ago") takes the place of what it said before, and is no news.
    """
    raised = [Flag(f["code"], f.get("severity", "medium"), f.get("detail", "")) for f in output.get("flags") or []]
    context = draft.context(record)
    cleared = [code for code in output.get("clears") or [] if code in context.flags]
    fresh = dedupe.fresh_flags(context.flags, raised)
    restated = dedupe.restated(context.flags, raised, agent)
    if not fresh and not cleared and not restated:
        return
    flags = {code: flag for code, flag in context.flags.items() if code not in cleared}
    for flag in restated:
        flags[flag.code] = replace(flags[flag.code], severity=flag.severity, detail=flag.detail)
        draft.audit("flag.restated", who=agent, record=record, run=run, rule=flag.code, note=flag.detail)
    for flag in fresh:
        flags[flag.code] = OpenFlag(flag.code, flag.severity, flag.detail, agent, draft.now, run)
        draft.audit("flag.raised", who=agent, record=record, run=run, rule=flag.code, note=flag.detail)
    for code in cleared:
        draft.audit("flag.cleared", who=agent, record=record, run=run, rule=code)
    again = {*cleared, *(flag.code for flag in fresh)}  # a worse finding is told again, too
    told = {key: at for key, at in context.told.items() if key.rpartition("|")[2] not in again}
    draft.put(replace(context, flags=flags, told=told))


def _messages(draft: Draft, run: Run, step: Step, record: str, output: dict[str, Any]) -> Run:
    for notice in output.get("notices") or []:
        to, subject, body, key = (str(notice.get(name, "")) for name in ("to", "subject", "body", "key"))
        about = [_flag_named(str(name), record) for name in notice.get("about") or []]
        if about:
            news = _news(draft, to, about)
            if not news:
                draft.audit("notice.repeated", who=step.agent, record=record, run=run.id, note=subject)
                continue
            key += f"|{ids.derived('f', *news)}"
        run = tell(draft, run, step.agent, to, subject, body, key, str(notice.get("report", "")))
    for report in output.get("reports") or []:
        name, html = str(report.get("name", "")), str(report.get("html", ""))
        run = tell(draft, run, step.agent, f"report:{name}", name, html, f"report|{name}|{run.id}|{step.attempt}")
    return run


def _flag_named(name: str, record: str) -> tuple[str, str]:
    """The record and code behind "deal:7|stale_activity", or behind a bare code of the proposal's own record."""
    of, _, code = name.rpartition("|")
    return of or record, code


def _news(draft: Draft, to: str, about: list[tuple[str, str]]) -> list[str]:
    """Those of these open flags that the reader has not been told of, each with the time it was raised; from now on
    he has been told."""
    news = []
    draft.need("context", {record for record, _ in about})
    for record, code in sorted(set(about)):
        context = draft.context(record)
        flag, told = context.flags.get(code), f"{to}|{code}"
        if flag is not None and told not in context.told:
            draft.put(replace(context, told={**context.told, told: draft.now}))
            news.append(f"{record}|{code}@{flag.at!r}")
    return news


def tell(draft: Draft, run: Run, agent: str, to: str, subject: str, body: str, key: str, report: str = "") -> Run:
    """A notice goes out once per key and window, whoever raises it, and without the values of sensitive fields."""
    hidden = list(_sensitive(draft, run))
    subject, body = masking.without(subject, hidden), masking.without(body, hidden)
    key = key or f"{agent}|{run.record}|{subject}"
    id_ = ids.notice_id(key)
    known = draft.notice(id_)
    if known is not None and dedupe.repeat(known.at, draft.now, draft.rulebook.dedupe):
        draft.audit("notice.repeated", who=agent, record=run.record, run=run.id, note=subject)
        return run
    draft.put(OutNotice(id_, key, to, subject[:500], body[:BODY_KEPT], draft.now, run.id, report=report))
    draft.audit("notice.planned", who=agent, record=run.record, run=run.id, note=subject)
    return replace(run, effects=(*run.effects, id_))


def _sensitive(draft: Draft, run: Run) -> Iterator[Any]:
    """What stands in, or is proposed for, sensitive fields of the records that the call was about."""
    fields = [name for name, rules in draft.rulebook.governance.fields.items() if rules.sensitive]
    if not fields:
        return
    records = [run.record, *run.members, *(record for several in run.related.values() for record in several)]
    draft.need("context", records)
    for record in records:
        context, kind = draft.context(record), record.partition(":")[0]
        standing = [(name, field.value) for name, field in context.fields.items()]
        for name, value in standing + [(name, one.value) for name, one in context.proposed.items()]:
            if f"{kind}.{name}" in fields and value is not None:
                yield value
