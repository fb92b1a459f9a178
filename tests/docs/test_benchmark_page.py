"""What `scripts/bench` makes of its figures: ratios, goals, the page and the plot."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pages import ROOT, page

BENCHMARKS = ROOT / "scripts" / "benchmarks"
OURS, PEER = "revops-0", "huey"


@pytest.fixture(autouse=True)
def _found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def measures(per_s: float, p50_ms: float) -> dict[str, Any]:
    alone = {"count": 100, "p50_ms": p50_ms, "p99_ms": p50_ms * 2}
    return {"cold_s": 1.0, "idle_mb": 70.0, "busy_mb": 80.0, "many": {"count": 1000, "per_s": per_s}, "alone": alone}


def found(*rounds: dict[str, Any]) -> dict[str, Any]:
    sizes = {"many": 1000, "alone": 100, "waiting": 960, "growth": 0, "patience": 12.0}
    about = {"machine": "2 cores", "versions": {"Python": "3.11"}, "sizes": sizes, "quick": False, "minutes": 1.0}
    return {**about, "rounds": list(rounds), "growth": None}


def test_a_ratio_is_that_within_a_round_so_a_slow_round_does_not_count() -> None:
    slow = {OURS: measures(60, 30), PEER: measures(50, 20)}  # the machine was busy in this one
    quick = {OURS: measures(600, 3), PEER: measures(500, 2)}
    medians = import_module("report").Medians(found(slow, quick, quick))
    assert medians.ratio(OURS, PEER, "many", "per_s") == pytest.approx(1.2)
    assert medians.of(OURS, "many", "per_s") == 600


@pytest.mark.parametrize(("per_s", "verdict"), [(499, "**not met**"), (500, "met")])
def test_a_goal_is_met_or_it_is_said_that_it_is_not(per_s: float, verdict: str) -> None:
    once = {OURS: measures(per_s, 2), PEER: measures(500, 2)}
    (line,) = [line for line in import_module("report").text(found(once)) if line.startswith("| a. ")]
    assert line.endswith(f"| {verdict} |")


def test_what_failed_is_named_and_counts_nowhere() -> None:
    once = {OURS: {"failed": "no such file"}, PEER: measures(500, 2)}
    report = import_module("report")
    assert [goal.what for goal in report.goals(found(once))] == []
    assert f"Failed, and so not counted: {OURS} in round 1." in report.text(found(once))


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    pages = import_module("page")
    (tmp_path / "performance.md").write_text(f"before\n{pages.BEGIN}\nwhat stood there\n{pages.END}\nafter\n")
    pages.write(found({OURS: measures(600, 3), PEER: measures(500, 2)}), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert text.startswith(f"before\n{pages.BEGIN}\n")
    assert text.endswith(f"{pages.END}\nafter\n")
    assert "what stood there" not in text
    assert "| 600 |" in text


def test_the_plot_has_a_point_for_each_value_inside_of_its_panel() -> None:
    rounds = {OURS: measures(600, 3), PEER: measures(0.5, 2000)}
    drawing = import_module("plot").svg(found(rounds))
    width = float(ElementTree.fromstring(drawing).attrib["width"])
    points = [float(x) for x in re.findall(r'cx="([\d.]+)" cy="[\d.]+" r="5"', drawing)]
    assert len(points) == 4
    assert all(0 < x < width for x in points)


def test_every_participant_has_a_file_that_says_how_it_is_set_up() -> None:
    for variant in import_module("variants").VARIANTS:
        text = (BENCHMARKS / "peers" / f"{variant.peer}.py").read_text(encoding="utf-8")
        assert text.startswith('"""')


def test_the_page_has_the_marks_that_the_benchmark_writes_between() -> None:
    pages = import_module("page")
    assert page("docs/performance.md").count(pages.BEGIN) == 1
    assert page("docs/performance.md").count(pages.END) == 1
