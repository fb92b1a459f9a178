"""Workflows: triggers, steps and their graph."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from revops_lite.config.checks import NAME, NAME_MEND, names_in
from revops_lite.config.positions import Key
from revops_lite.config.problems import Problem, quoted, unknown
from revops_lite.config.tables import Config, OverTable, StepTable, WorkflowTable
from revops_lite.errors import ConfigError
from revops_lite.policy import StepDef
from revops_lite.rules.crontab import spelled_out

_EVENT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


def check_workflows(config: Config, data: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything about `[workflows]`; agents and workflows that are broken themselves still count as known."""
    agents = names_in(data, "agents")
    for name, workflow in config.workflows.items():
        key: Key = ("workflows", name)
        if not NAME.fullmatch(name):
            yield Problem(key, f"a workflow cannot have this name; {NAME_MEND}")
        yield from _trigger(key, workflow, set(names_in(data, *key)), agents)
        yield from _words(key, workflow)
        if not workflow.steps:
            yield Problem((*key, "steps"), 'has no steps; add steps = [{ agent = "…" }]')
        yield from _steps(key, workflow.steps, agents)
        yield from _sweep(key, workflow, config.crm.adapter)
    yield from _extracts(config.workflows)


def pointers(kind: str, relations: Mapping[str, str]) -> dict[str, str]:
    """What records of a kind point at -> the field by which they do: {"owner": "hubspot_owner_id"}."""
    return {target: source.partition(".")[2] for source, target in relations.items() if source.startswith(f"{kind}.")}


def step_defs(steps: tuple[StepTable, ...], pointing: Mapping[str, str] | None = None) -> tuple[StepDef, ...]:
    """Steps with their names and what they follow spelled out; `pointing` is what `pointers` finds."""
    names = [step.name or step.agent for step in steps]
    return tuple(
        StepDef(
            name=names[index],
            agent=step.agent,
            after=tuple(names[max(index - 1, 0) : index]) if step.after is None else step.after,
            optional=step.optional,
            wait_for_review=step.wait_for_review,
            when=step.when,
            gather=step.gather,
            gather_field=(pointing or {}).get(step.gather or ""),
        )
        for index, step in enumerate(steps)
    )


def _trigger(key: Key, workflow: WorkflowTable, given: set[str], agents: Collection[str]) -> Iterator[Problem]:
    if not given & {"on", "cron", "over"} or ("on" in given and not workflow.on and not given & {"cron", "over"}):
        yield Problem(key, 'nothing starts it; add on = "lead.created", or cron = "0 6 * * *" with over')
    for index, event in enumerate(workflow.on):
        place: Key = (*key, "on", index) if len(workflow.on) > 1 else (*key, "on")
        agent, _, what = event.rpartition(".")
        if not _EVENT.fullmatch(event):
            yield Problem(place, f'{quoted(event, chr(39))} is no event type; write it like "lead.created"')
        elif what == "complete" and agent not in agents:
            yield Problem(place, unknown("agent", agent, agents, f"add [agents.{agent}]"))
    if workflow.cron is not None:
        try:
            spelled_out(workflow.cron)
        except ConfigError as error:
            yield Problem((*key, "cron"), str(error))


def _words(key: Key, workflow: WorkflowTable) -> Iterator[Problem]:
    for index, role in enumerate(workflow.include):
        if not NAME.fullmatch(role):
            yield Problem((*key, "include", index), f"{quoted(role, chr(39))} is no kind of record; {NAME_MEND}")
    if workflow.over is not None and not NAME.fullmatch(workflow.over.kind):
        text = f"{quoted(workflow.over.kind, chr(39))} is no kind of record; {NAME_MEND}"
        yield Problem((*key, "over", "kind"), text)


def _steps(key: Key, steps: tuple[StepTable, ...], agents: Collection[str]) -> Iterator[Problem]:
    defs = step_defs(steps)
    names = [step.name for step in defs]
    for index, (table, step) in enumerate(zip(steps, defs, strict=True)):
        place: Key = (*key, "steps", index)
        if step.agent not in agents:
            yield Problem((*place, "agent"), unknown("agent", step.agent, agents, f"add [agents.{step.agent}]"))
        if not NAME.fullmatch(step.name):
            yield Problem((*place, "name" if table.name else "agent"), f"a step cannot have this name; {NAME_MEND}")
        elif step.name in names[:index]:
            text = f'two steps are called {step.name}; give this one its own name = "…"'
            yield Problem((*place, "name" if table.name else "agent"), text)
        if step.gather is not None and not NAME.fullmatch(step.gather):
            yield Problem((*place, "gather"), 'takes "all" or the name of a related record, like "owner"')
        for each in table.after or ():
            if each not in names:
                yield Problem((*place, "after"), unknown("step", each, names))
    if len(set(names)) == len(names):
        yield from _cycle(key, defs, names)
    yield from _single_after_gather(key, defs)


def _single_after_gather(key: Key, steps: tuple[StepDef, ...]) -> Iterator[Problem]:
    gathering = {step.name for step in steps if step.gather is not None}
    for index, step in enumerate(steps):
        if step.gather is None and gathering & set(step.after):
            others = " and ".join(sorted(gathering & set(step.after)))
            text = (
                f"works on single records and cannot follow {others}, which gathers them; put it before (after = [] "
                'if nothing else fits), or let it gather, too: its proposals may name any record (target = "deal:7")'
            )
            yield Problem((*key, "steps", index, "after"), text)


def _sweep(key: Key, workflow: WorkflowTable, adapter: str) -> Iterator[Problem]:
    """What needs several records, and what several records need."""
    if workflow.over is not None and adapter == "none":
        yield Problem((*key, "over"), 'there is no CRM to sweep with crm.adapter = "none"; remove it, or name a CRM')
    if workflow.extract and workflow.over is None:
        mend = 'is made when a workflow sweeps the CRM; add over = { kind = "deal" } to this one, or remove extract'
        yield Problem((*key, "extract"), mend)
    for index, step in enumerate(workflow.steps if workflow.over is None else ()):
        for word in ("when", "gather"):
            if getattr(step, word):
                mend = f'is for workflows with over; add over = {{ kind = "deal" }} to this one, or remove {word}'
                yield Problem((*key, "steps", index, word), mend)


def _extracts(workflows: Mapping[str, WorkflowTable]) -> Iterator[Problem]:
    """An extract's name is that of a file, var/extracts/NAME.csv, which all workflows share."""
    known: dict[str, tuple[str, OverTable]] = {}
    for workflow, table in workflows.items():
        for name, which in table.extract.items():
            key: Key = ("workflows", workflow, "extract", name)
            if not NAME.fullmatch(name):
                yield Problem(key, f"an extract's file cannot have this name; {NAME_MEND}")
            if not NAME.fullmatch(which.kind):
                yield Problem((*key, "kind"), f"{quoted(which.kind, chr(39))} is no kind of record; {NAME_MEND}")
            other, same = known.setdefault(name, (workflow, which))
            if same != which:
                yield Problem(key, f"{other} makes another extract of this name; give one of them its own")


def _cycle(key: Key, steps: tuple[StepDef, ...], names: list[str]) -> Iterator[Problem]:
    try:
        graphlib.TopologicalSorter({step.name: step.after for step in steps}).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        index = max(names.index(name) for name in circle)
        text = f"the steps wait for each other: {' -> '.join(circle)}; take one of these out of `after`"
        yield Problem((*key, "steps", index, "after"), text)
