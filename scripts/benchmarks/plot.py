"""The plot: workflows a second and the time of one alone, on scales of powers of ten. Legible on white and on black."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from report import Medians
from variants import Variant

WIDTH, LEFT, PANEL, GAP, ROW, TOP, BOTTOM = 1000, 320, 290, 40, 24, 64, 34
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.grid { stroke: #d0d7de } .stem { stroke-width: 2 }
.ours { fill: #0969da; stroke: #0969da }
.peer { fill: #bc4c00; stroke: #bc4c00 }
.floor { fill: #6e7781; stroke: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9da7b3 } .grid { stroke: #30363d }
  .ours { fill: #58a6ff; stroke: #58a6ff }
  .peer { fill: #f0883e; stroke: #f0883e }
  .floor { fill: #8b949e; stroke: #8b949e }
}
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """A panel's x axis, over whole powers of ten."""

    x: float
    low: int
    high: int

    @classmethod
    def over(cls, values: list[float], x: float) -> Scale:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return cls(x, low, max(high, low + 1))

    def at(self, value: float) -> float:
        return self.x + (math.log10(value) - self.low) / (self.high - self.low) * (PANEL - 60)

    def ticks(self) -> Iterator[tuple[float, str]]:
        for power in range(self.low, self.high + 1):
            yield self.at(10.0**power), f"{10.0**power:,g}" if power < 0 else f"{10**power:,}"


def svg(found: dict[str, Any]) -> str:
    medians = Medians(found)
    variants = sorted(
        (v for v in medians.names() if medians.of(v.name, "many", "per_s")),
        key=lambda v: -(medians.of(v.name, "many", "per_s") or 0),
    )
    height = TOP + ROW * len(variants) + BOTTOM
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>Workload W: workflows a second, and milliseconds of one alone</title>",
        f"<style>{STYLE}</style>",
        *legend(),
    ]
    for number, variant in enumerate(variants):
        label = escape(variant.title.replace("`", ""))
        lines.append(f'<text x="{LEFT - 12}" y="{middle(number) + 4}" text-anchor="end">{label}</text>')
    lines += panel(medians, variants, ("many", "per_s"), LEFT, "workflows a second (more is better)")
    lines += panel(medians, variants, ("alone", "p50_ms"), LEFT + PANEL + GAP, "one alone, p50 in ms (less is better)")
    return "\n".join([*lines, "</svg>"]) + "\n"


def middle(number: int) -> float:
    return TOP + ROW * number + ROW / 2


def legend() -> Iterator[str]:
    for number, (kind, text) in enumerate((("ours", "revops-lite"), ("peer", "peers"), ("floor", "Redis alone"))):
        y = 18 + 15 * number
        yield f'<circle class="{kind}" cx="14" cy="{y - 4}" r="4"/><text class="small" x="24" y="{y}">{text}</text>'


def panel(medians: Medians, variants: list[Variant], path: tuple[str, str], x: float, head: str) -> Iterator[str]:
    values = {v.name: value for v in variants if (value := medians.of(v.name, *path))}
    if not values:
        return
    scale = Scale.over(list(values.values()), x)
    bottom = TOP + ROW * len(variants)
    yield f'<text class="head" x="{x}" y="22">{head}</text>'
    for tick, text in scale.ticks():
        yield f'<line class="grid" x1="{tick:.1f}" x2="{tick:.1f}" y1="{TOP - 8}" y2="{bottom}"/>'
        yield f'<text class="small" x="{tick:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
    for number, variant in enumerate(variants):
        if variant.name in values:
            value, y = values[variant.name], middle(number)
            end = scale.at(value)
            shown = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
            yield f'<line class="stem {variant.kind}" x1="{x}" x2="{end:.1f}" y1="{y}" y2="{y}"/>'
            yield f'<circle class="{variant.kind}" cx="{end:.1f}" cy="{y}" r="5"/>'
            yield f'<text x="{end + 10:.1f}" y="{y + 4}">{shown}</text>'
