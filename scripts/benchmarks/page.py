"""Tables and plot, put into the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plot
import report

BEGIN, END = "<!-- begin: scripts/bench --write -->", "<!-- end: scripts/bench --write -->"


def write(found: dict[str, Any], docs: Path) -> None:
    """Replaces what stands between the marks in performance.md, and performance.svg."""
    path = docs / "performance.md"
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench: {path} has no marks {BEGIN} and {END}")
    tables = "\n".join(report.text(found))
    path.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")
    (docs / "performance.svg").write_text(plot.svg(found), encoding="utf-8")
