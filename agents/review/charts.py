"""Charts as inline SVG: no script, no outside resource, colours by CSS class, each with its words beside it.

Colours stand as attributes too, for readers that drop style sheets.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from agents.deals.accuracy import Bin

BAR = Markup(
    '<svg class="bar" role="img" aria-label="{label}" width="100%" height="8">'
    '<rect class="track" width="100%" height="8" rx="4" fill="#e6e8ec"/>'
    '<rect class="{tone}" width="{whole:.2f}%" height="8" rx="4" fill="#9db7e0"/>'
    '<rect class="{tone} strong" width="{part:.2f}%" height="8" rx="4" fill="#2f5fb3"/></svg>'
)
SIDE, EDGE = 200, 24  # of the square, and of the margin for its words


def bar(label: str, whole: float, part: float = 0.0, tone: str = "sum") -> Markup:
    """A bar of `whole` (0..1) with `part` of the same scale on top of it, as wide as its cell."""
    return BAR.format(label=label, whole=100 * bounded(whole), part=100 * bounded(part), tone=tone)


def bounded(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def calibration(bins: Sequence[Bin]) -> Markup:
    """Forecast (across) against share won (up): on the diagonal they agree; a dot's size is its number of deals."""
    most = max((one.count for one in bins), default=1)
    dots = Markup("").join(
        Markup('<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="#2f5fb3" fill-opacity="0.8"/>').format(
            x=EDGE + one.mean * SIDE, y=EDGE + SIDE - one.won * SIDE, r=3 + 7 * (one.count / most) ** 0.5
        )
        for one in bins
    )
    told = "; ".join(f"{one.count} deals forecast {one.mean:.0%}, {one.won:.0%} won" for one in bins)
    return Markup(
        '<svg class="square" role="img" aria-label="Forecast against share won: {told}" '
        'viewBox="0 0 {size} {size}" width="{size}" height="{size}">'
        '<rect class="frame" x="{edge}" y="{edge}" width="{side}" height="{side}" fill="none" stroke="#c3c8d1"/>'
        '<line class="diagonal" x1="{edge}" y1="{end}" x2="{end}" y2="{edge}" stroke="#8a93a3" stroke-dasharray="4 4"/>'
        "{dots}"
        '<text x="{edge}" y="{below}" font-size="11" fill="#5b6472">0 %</text>'
        '<text x="{middle}" y="{below}" font-size="11" text-anchor="middle" fill="#5b6472">forecast</text>'
        '<text x="{end}" y="{below}" font-size="11" text-anchor="end" fill="#5b6472">100 %</text>'
        '<text x="{edge}" y="{above}" font-size="11" fill="#5b6472">share won</text></svg>'
    ).format(
        told=told,
        dots=dots,
        size=SIDE + 2 * EDGE,
        edge=EDGE,
        side=SIDE,
        end=EDGE + SIDE,
        middle=EDGE + SIDE // 2,
        below=EDGE + SIDE + 16,
        above=EDGE - 8,
    )
