"""Drawings of workflows: chains, forks, joins and diamonds, readable on a narrow terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.cli.graph import workflow_view
from revops_lite.policy import Over, StepDef, WorkflowDef


def workflow(**after: str) -> WorkflowDef:
    steps = tuple(StepDef(name, name, tuple(follows.split())) for name, follows in after.items())
    return WorkflowDef("flow", ("lead.created",), steps)


def drawing(text: str) -> str:
    """The part below the facts."""
    return text.partition("\n\n")[2]


DRAWINGS = {
    "chain": (
        workflow(enrich="", score="enrich", route="score"),
        """
◆ lead.created
│
● enrich
│
● score
│
● route""",
    ),
    "fork": (
        workflow(enrich="", score="enrich", alert="enrich"),
        """
◆ lead.created
│
● enrich
├─╮
● │ score
  │
  ● alert""",
    ),
    "join": (
        workflow(enrich="", audit="", score="enrich audit"),
        """
◆ lead.created
├─╮
● │ enrich
│ │
│ ● audit
├─╯
● score  after enrich + audit""",
    ),
    "diamond": (
        workflow(enrich="", score="enrich", route="enrich", alert="score route"),
        """
◆ lead.created
│
● enrich
├─╮
● │ score
│ │
│ ● route
├─╯
● alert  after score + route""",
    ),
    "wide diamond": (
        workflow(a="", b="a", c="a", d="a", e="b c d"),
        """
◆ lead.created
│
● a
├─┬─╮
● │ │ b
│ │ │
│ ● │ c
├─╯ │
│   ● d
├───╯
● e  after b + c + d""",
    ),
    "line that passes another": (
        workflow(a="", b="a", c="a", d="a", e="b d", f="c"),
        """
◆ lead.created
│
● a
├─┬─╮
● │ │ b
│ │ │
│ ● │ c
│ │ │
│ │ ● d
├─│─╯
● │ e  after b + d
  │
  ● f""",
    ),
    "lane that is joined and goes on": (
        workflow(a="", b="a", c="a", d="b c", e="c"),
        """
◆ lead.created
│
● a
├─╮
● │ b
│ │
│ ● c
├◂┤
● │ d  after b + c
  │
  ● e""",
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_graph_is_drawn_with_its_branches_side_by_side(name: str) -> None:
    flow, expected = DRAWINGS[name]
    assert drawing(workflow_view(flow, 80, color=False)) == expected.lstrip("\n")


def test_trigger_deadline_and_marks_stand_with_the_steps() -> None:
    steps = (
        StepDef("inspect", "deal_inspection", wait_for_review=True),
        StepDef("forecast", "forecast", ("inspect",), when="flagged"),
        StepDef("alert", "alert", ("forecast",), gather="owner", optional=True),
    )
    flow = WorkflowDef(
        "review",
        (),
        steps,
        deadline=5400.0,
        include=("contacts", "owner"),
        cron="0 6 * * *",
        missed="skip",
        over=Over("deal", {"is_closed": False}),
        on_failure="rollback",
    )
    assert (
        workflow_view(flow, 80, color=False)
        == """review
  over every deal where is_closed = false
  with contacts, owner
  deadline 1h30m
  a missed time is skipped
  on failure: rollback

◆ cron 0 6 * * *
│
● inspect  agent deal_inspection · waits for review
│
● forecast  when flagged
│
○ alert  gather owner · optional"""
    )


def test_a_workflow_that_nothing_triggers_says_that_it_is_started_by_hand() -> None:
    flow = WorkflowDef("w", (), (StepDef("a", "a"),), over=Over("deal"))
    assert "◆ started by hand" in workflow_view(flow, 80, color=False)


def test_colour_adds_only_colour() -> None:
    flow, _ = DRAWINGS["diamond"]
    coloured = workflow_view(flow, 80, color=True)
    assert "\x1b[36m●" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == workflow_view(flow, 80, color=False)


NAMES = [f"step_number_{index:02}" for index in range(12)]
GRAPHS = st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=12).map(
    lambda sets: workflow(
        **{
            NAMES[index]: " ".join(NAMES[each] for each in sorted(after) if each < index)
            for index, after in enumerate(sets)
        }
    )
)


@given(flow=GRAPHS, width=st.sampled_from([40, 80]))
def test_any_graph_of_twelve_steps_fits_and_names_each_step_once_after_what_it_follows(
    flow: WorkflowDef, width: int
) -> None:
    rows = workflow_view(flow, width, color=False).split("\n")
    assert max(map(len, rows)) <= width
    places = [
        index for step in flow.steps for index, row in enumerate(rows) if f"● {step.name}" in re.sub("[ │]+", " ", row)
    ]
    assert places == sorted(places)
    assert len(places) == len(flow.steps)


@given(flow=GRAPHS)
def test_the_lines_of_a_drawing_lead_from_each_step_to_exactly_those_that_come_after_it(flow: WorkflowDef) -> None:
    rows = drawing(workflow_view(flow, 200, color=False)).split("\n")
    for step in flow.steps:
        assert reached(rows, step.name) == {each.name for each in flow.steps if step.name in each.after}


def reached(rows: list[str], start: str) -> set[str]:
    """The steps that one comes to, going down along the lines from `start`, to the next steps only."""
    at = next(
        index for index, row in enumerate(rows) if re.search(rf" {start}\b(?! \+)", row) and "●" in row.split(start)[0]
    )
    found, todo, seen = set(), [(at + 1, rows[at].index("●"))], set()
    while todo:
        row, column = todo.pop()
        if (row, column) in seen or row >= len(rows) or column >= len(rows[row]):
            continue
        seen.add((row, column))
        glyph = rows[row][column]
        if glyph == "●":
            found.add(rows[row].replace("│", " ").split()[1])
            continue
        if glyph in "│├┤┼╭╮┬":
            todo.append((row + 1, column))
        if glyph != "│":
            todo += [(row + 1, each) for each in across(rows[row], column)]
    return found


def across(row: str, column: int) -> list[int]:
    """Columns at which the horizontal line through `column` goes down again; it passes behind a lone lane."""
    ends = []
    for step in (1, -1):
        at = column + step
        against = "◂" if step == 1 else "▸"
        while (
            0 <= at < len(row)
            and row[at] in "─│┬┼┤├╮╭╯╰┴▸◂"
            and not (row[at] == "│" and row[at - step] == " ")
            and row[at] != against
        ):
            if row[at] in "┬┼┤├╮╭":
                ends.append(at)
            if row[at] in "╮╭╯╰" or (row[at] == "┤" and step == 1) or (row[at] == "├" and step == -1):
                break
            at += step
    return ends
