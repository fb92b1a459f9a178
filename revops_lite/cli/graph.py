"""A workflow's steps drawn in the terminal: one row a step, in the order they may run, one lane for each that waits.

    ◆ lead.created
    │
    ● enrichment
    ├─╮
    ● │ scoring
    │ │
    │ ● routing
    ├─╯
    ● lead_alert  after scoring + routing

A lane leads to exactly one step; all that this step follows flow into its lane. A line that passes another without
touching it leaves a gap around it ("╭─│─╯"), and an arrow tells where a lane is joined and not left.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from revops_lite.config import spell
from revops_lite.policy import StepDef, WorkflowDef

TRIGGER = ""  # stands above the steps that follow nothing
UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_JOINT = {
    UP | DOWN: "│",
    UP | DOWN | RIGHT: "├",
    UP | DOWN | LEFT: "┤",
    UP | DOWN | LEFT | RIGHT: "┼",
    UP | LEFT: "╯",
    UP | RIGHT: "╰",
    UP | LEFT | RIGHT: "┴",
    DOWN | LEFT: "╮",
    DOWN | RIGHT: "╭",
    DOWN | LEFT | RIGHT: "┬",
    UP: " ",
}
Paint = Callable[[str, str], str]


def workflow_view(workflow: WorkflowDef, width: int, color: bool, more: Sequence[str] = ()) -> str:
    """The drawing, at most `width` columns wide (20 at least), lines joined by newlines and none at the end.

    `more` are facts that the definition does not hold.
    """
    width = max(width, 20)
    paint: Paint = (
        (lambda code, text: f"\x1b[{code}m{text}\x1b[0m" if text else "") if color else (lambda _, text: text)
    )
    lines = [paint("1", _cut(workflow.name, width))]
    lines += [paint("2", line) for line in _facts(workflow, width, more)]
    lines.append("")
    lanes = _Lanes()
    order = _in_order(workflow.steps)
    lines.append(f"{paint('36', '◆')} {_cut(_trigger(workflow), width - 2)}")
    lines += _dim(lanes.leave(TRIGGER, [step.name for step in order if not step.after]), paint)
    for step in order:
        lines.append(_row(lanes, step, width, paint))
        lines += _dim(lanes.leave(step.name, [each.name for each in order if step.name in each.after]), paint)
    return "\n".join(lines)


def _facts(workflow: WorkflowDef, width: int, more: Sequence[str]) -> list[str]:
    facts = []
    if workflow.over:
        where = ", ".join(f"{name} = {json.dumps(value)}" for name, value in workflow.over.where.items())
        facts.append(f"over every {workflow.over.kind}" + (f" where {where}" if where else ""))
    if workflow.include:
        facts.append(f"with {', '.join(workflow.include)}")
    if workflow.deadline is not None:
        facts.append(f"deadline {spell(workflow.deadline)}")
    if workflow.cron and workflow.missed != "latest":
        facts.append({"all": "every missed time is made up for", "skip": "a missed time is skipped"}[workflow.missed])
    if workflow.on_failure != "keep":
        facts.append(f"on failure: {workflow.on_failure}")
    return [
        line
        for fact in [*facts, *more]
        for line in textwrap.wrap(fact, width, initial_indent="  ", subsequent_indent="    ")
    ]


def _trigger(workflow: WorkflowDef) -> str:
    starts = [" or ".join(workflow.on)] if workflow.on else []
    return " or ".join(starts + ([f"cron {workflow.cron}"] if workflow.cron else [])) or "started by hand"


def _in_order(steps: Sequence[StepDef]) -> list[StepDef]:
    """As defined, but none before what it follows."""
    waiting, placed = list(steps), list[StepDef]()
    while waiting:
        done = {step.name for step in placed}
        ready = next((step for step in waiting if done.issuperset(step.after)), waiting[0])
        waiting.remove(ready)
        placed.append(ready)
    return placed


def _marks(step: StepDef) -> list[str]:
    return [
        *([f"agent {step.agent}"] if step.agent != step.name else []),
        *([f"after {' + '.join(step.after)}"] if len(step.after) > 1 else []),
        *([f"when {step.when}"] if step.when else []),
        *([f"gather {step.gather}"] if step.gather else []),
        *(["optional"] if step.optional else []),
        *(["waits for review"] if step.wait_for_review else []),
    ]


def _row(lanes: _Lanes, step: StepDef, width: int, paint: Paint) -> str:
    at = lanes.of(step.name)
    glyph = "○" if step.optional else "●"
    left = " ".join(glyph if i == at else "│" if lane is not None else " " for i, lane in enumerate(lanes.leads_to))
    room = width - len(left) - 1
    name = _cut(step.name, max(room, 8))
    marks = _cut(" · ".join(_marks(step)), room - len(name) - 2)
    before, _, after = left.partition(glyph)
    drawn = paint("2", before) + paint("36", glyph) + paint("2", after)
    return f"{drawn} {paint('1', name)}" + (f"  {paint('2', marks)}" if marks else "")


def _dim(rows: list[str], paint: Paint) -> list[str]:
    return [paint("2", row) for row in rows]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…" if room > 1 else ""


class _Lanes(Struct):
    """Vertical lines from what is drawn to what is not yet: `leads_to[i]` is the step at the end of lane i."""

    leads_to: list[str | None] = field(default_factory=list)

    def of(self, step: str) -> int:
        """The lane of a step that is drawn now; a new one where nothing above leads to it."""
        if step not in self.leads_to:
            self.leads_to.append(step)
        return self.leads_to.index(step)

    def leave(self, step: str, followers: list[str]) -> list[str]:
        """Let the lane of a drawn step go on to its followers: the rows of joints below it.

        One row opens all new lanes, and each lane that is joined has a row of its own: a line that touched two of
        them would seem to lead from the one into the other.
        """
        source = self.of(step)
        joined = [self.leads_to.index(each) for each in followers if each in self.leads_to]
        fresh = [each for each in followers if each not in self.leads_to]
        rows = []
        if fresh or not joined:
            before = self._taken()
            self.leads_to[source] = fresh[0] if fresh else None
            opened = {self._open(each, source) for each in fresh[1:]}
            if opened or not joined:
                rows.append(_joints(before, self._taken(), source, opened, arrow=False))
        for lane in joined:
            before = self._taken()
            if not fresh and lane == joined[-1]:
                self.leads_to[source] = None
            rows.append(_joints(before, self._taken(), source, {lane}, arrow=self.leads_to[source] is not None))
        while self.leads_to and self.leads_to[-1] is None:
            self.leads_to.pop()
        return [row for row in rows if row]

    def _taken(self) -> list[bool]:
        return [lane is not None for lane in self.leads_to]

    def _open(self, step: str, right_of: int) -> int:
        for lane in range(right_of + 1, len(self.leads_to)):
            if self.leads_to[lane] is None:
                self.leads_to[lane] = step
                return lane
        self.leads_to.append(step)
        return len(self.leads_to) - 1


def _joints(above: list[bool], below: list[bool], source: int, ends: set[int], arrow: bool) -> str:
    """One row: the source's lane, a line from it to each of `ends`, and the other lanes passing."""
    first, last = min(ends | {source}), max(ends | {source})
    text = ""
    for lane, down in enumerate(below):
        bits = UP * (lane < len(above) and above[lane]) | DOWN * down
        if lane == source or lane in ends:
            bits |= LEFT * (lane > first) | RIGHT * (lane < last)
        text += "─" if first < lane <= last else " "
        text += _JOINT[bits] if bits else "─" if first < lane < last else " "
    text = text[1:].rstrip()
    if not arrow:
        return text
    (end,) = ends
    head = (2 * end - 1, "▸") if end > source else (2 * end + 1, "◂")
    return text[: head[0]] + head[1] + text[head[0] + 1 :]
