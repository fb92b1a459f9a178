"""What was measured, as medians, ratios and goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from variants import BY_NAME, VARIANTS, Variant

Found = dict[str, Any]
DEFAULTS = ("revops-0-always", "revops-1-always")  # as durable as an installation is where nothing is set
IDEAL = 320.0  # workflows a second, of four agents of 50 ms in 64 slots
SPEED = (
    "speed",
    "W/s, of the fastest peer's",
    "W/s",
    "p50 alone, of huey's",
    "p50 / p99 alone, ms",
    "50 ms agents in 64 slots, of 320/s",
)
COST = (
    "cost",
    "CPU a workflow, ms",
    "round trips a step, load / alone",
    "commands a step, load / alone",
    "memory idle / after load, MB",
    "cold start, s",
)


class Medians:
    """`of(name, "many", "per_s")`: the median over the rounds, None where it was not measured."""

    def __init__(self, found: Found) -> None:
        self.rounds: list[Found] = found["rounds"]

    def all(self, name: str, *path: str) -> list[float | None]:
        return [_at(measures.get(name, {}), path) for measures in self.rounds]

    def of(self, name: str, *path: str) -> float | None:
        values = [value for value in self.all(name, *path) if value is not None]
        return median(values) if values else None

    def ratio(self, name: str, to: str, *path: str) -> float | None:
        """The median of the rounds' own ratios, so that what slowed a round down does not count."""
        both = zip(self.all(name, *path), self.all(to, *path), strict=True)
        values = [one / other for one, other in both if one and other]
        if values:
            return median(values)
        one, other = self.of(name, *path), self.of(to, *path)
        return one / other if one and other else None

    def names(self) -> list[Variant]:
        return [variant for variant in VARIANTS if any(variant.name in measures for measures in self.rounds)]

    def fastest_peer(self, durability: str = "") -> str | None:
        """Of all peers, or of those with this `durability`."""
        peers = [v for v in self.names() if v.kind == "peer" and durability in ("", v.durability)]
        rates = {v.name: self.of(v.name, "many", "per_s") or 0 for v in peers}
        return max(rates, key=lambda name: rates[name], default=None)


def _at(measures: Any, path: Sequence[str]) -> float | None:
    for name in path:
        if not isinstance(measures, dict) or name not in measures:
            return None
        measures = measures[name]
    return float(measures)


def short(found: Found) -> str:
    """One line, for whoever watches."""
    parts = []
    if "many" in found:
        parts.append(f"{found['many']['per_s']:.0f} W/s of {found['many']['count']}")
    if "alone" in found:
        parts.append(f"alone {found['alone']['p50_ms']:.1f} ms")
    if "growth" in found:
        parts.append(f"{found['growth']['few']['ms_each']} → {found['growth']['many']['ms_each']} ms each")
    return ", ".join(parts)


# ---- the table ---------------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    if value is None:
        return ""
    if digits == 0 and abs(value) < 10:
        digits = 1
    return f"{value:,.{digits}f}{unit}"


def pair(first: float | None, second: float | None, digits: int = 1) -> str:
    return "" if first is None else f"{number(first, digits)} / {number(second, digits)}"


def speed(medians: Medians, variant: Variant) -> list[str]:
    name, of = variant.name, medians.of
    share = of(name, "waiting", "many", "per_s")
    fastest = medians.fastest_peer()
    return [
        variant.title,
        number(medians.ratio(name, fastest, "many", "per_s") if fastest else None, 2),
        number(of(name, "many", "per_s")),
        number(medians.ratio(name, "huey", "alone", "p50_ms"), 2),
        pair(of(name, "alone", "p50_ms"), of(name, "alone", "p99_ms")),
        "" if share is None else f"{share / IDEAL:.0%}",
    ]


def cost(medians: Medians, variant: Variant) -> list[str]:
    name, of = variant.name, medians.of
    return [
        variant.title,
        number(of(name, "many", "cpu_ms"), 2),
        pair(of(name, "many", "trips"), of(name, "alone", "trips")),
        pair(of(name, "many", "commands"), of(name, "alone", "commands")),
        pair(of(name, "idle_mb"), of(name, "busy_mb"), 0),
        number(of(name, "cold_s"), 2),
    ]


def tables(medians: Medians) -> Iterator[str]:
    order = {"floor": 0, "ours": 1, "peer": 2}
    variants = sorted(
        medians.names(), key=lambda v: (order[v.kind], -(medians.of(v.name, "many", "per_s") or 0) * (v.kind == "peer"))
    )
    yield from markdown(SPEED, [speed(medians, variant) for variant in variants])
    yield ""
    yield from markdown(COST, [cost(medians, variant) for variant in variants])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for cells in rows:
        yield "| " + " | ".join(cells) + " |"


# ---- the goals ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goal:
    what: str
    limit: float
    value: float | None
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        assert self.value is not None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def cells(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        value = f"{self.value:,.2f}{self.unit}"
        return [self.what, f"{sign} {self.limit:g}{self.unit}", value, "met" if self.met else "**not met**"]


def goals(found: Found) -> list[Goal]:
    """Those of which something was measured."""
    medians = Medians(found)
    every = [*throughput(medians), *latency(medians), *slots(medians), *memory(medians)]
    every += [*growth(found), *traffic(medians), *commands(found)]
    return [goal for goal in every if goal.value is not None]


def best(medians: Medians, durability: str, crm: str = "") -> str:
    names = [f"revops-{hosts}{durability}{crm}" for hosts in (0, 1)]
    return max(names, key=lambda name: medians.of(name, "many", "per_s") or 0)


def hosts(name: str) -> str:
    return "no host" if name.startswith("revops-0") else "one host"


def throughput(medians: Medians) -> Iterator[Goal]:
    fastest = medians.fastest_peer()
    for crm, say in (("", ""), ("-sqlite", ", CRM written")):
        for durability, title in (("", "everysec"), ("-always", "always")):
            name = best(medians, durability, crm)
            as_durable = medians.fastest_peer(title) if durability else None
            for to, limit in {fastest: 1.0, as_durable: 1.0, "langgraph": 4.0, "dbos": 4.0}.items():
                if to is not None and (limit == 1.0 or not crm):
                    ratio = medians.ratio(name, to, "many", "per_s")
                    yield Goal(f"a. W/s, {hosts(name)}, `{title}`{say}, of {whose(to)}", limit, ratio, at_least=True)


def whose(name: str) -> str:
    variant = BY_NAME[name]
    return variant.title.split()[0].rstrip(",") + "'s" + (" with `always`" if variant.durability == "always" else "")


def latency(medians: Medians) -> Iterator[Goal]:
    for durability, title in (("", "everysec"), ("-always", "always")):
        bare, hosted = f"revops-0{durability}", f"revops-1{durability}"
        yield Goal(f"b. p50 alone, no host, `{title}`, of huey's", 1.2, medians.ratio(bare, "huey", "alone", "p50_ms"))
        ratio = medians.ratio(hosted, "langgraph", "alone", "p50_ms")
        yield Goal(f"b. p50 alone, one host, `{title}`, of LangGraph's", 1.0, ratio)
        for name in (bare, hosted):
            p50, p99 = medians.of(name, "alone", "p50_ms"), medians.of(name, "alone", "p99_ms")
            yield Goal(f"b. p99 of p50, {hosts(name)}, `{title}`", 3.0, p99 / p50 if p50 and p99 else None)


def slots(medians: Medians) -> Iterator[Goal]:
    for name in DEFAULTS:
        rate = medians.of(name, "waiting", "many", "per_s")
        yield Goal(
            f"c. 50 ms agents in 64 slots, {hosts(name)}, of 320/s", 0.9, rate / IDEAL if rate else None, at_least=True
        )


def memory(medians: Medians) -> Iterator[Goal]:
    for name, limit in zip(DEFAULTS, (80, 120), strict=True):
        yield Goal(f"d. memory idle, {hosts(name)}", limit, medians.of(name, "idle_mb"), unit=" MB")
        yield Goal(f"d. cold start, {hosts(name)}", 0.8, medians.of(name, "cold_s"), unit=" s")


def growth(found: Found) -> Iterator[Goal]:
    grown = (found.get("growth") or {}).get("growth")
    if not grown:
        return
    few, many, again = grown["few"], grown["many"], grown["again"]
    count = f"{many['count']:,}"
    if many["count"] >= 10_000:
        yield Goal(f"d. memory with {count} events queued", 200, many["peak_mb"], unit=" MB")
    yield Goal(f"e. time per W, {count} queued, of that with {few['count']:,}", 1.2, many["ms_each"] / few["ms_each"])
    yield Goal(f"e. p50 alone after {count} finished runs, of before", 1.2, many["p50_ms"] / few["p50_ms"])
    yield Goal(f"e. time per W after {count} finished runs, of before", 1.2, again["ms_each"] / few["ms_each"])
    yield Goal(f"e. memory after {count} finished runs, of before", 1.2, many["mb"] / few["mb"])


def traffic(medians: Medians) -> Iterator[Goal]:
    for name in DEFAULTS:
        yield Goal(f"f. round trips a step under load, {hosts(name)}", 1.0, medians.of(name, "many", "trips"))
        yield Goal(f"f. round trips a step alone, {hosts(name)}", 5.0, medians.of(name, "alone", "trips"))


def commands(found: Found) -> Iterator[Goal]:
    grown = found.get("growth") or {}
    if "commands" in grown:
        kept = f"{grown['growth']['many']['count']:,}"
        yield Goal("f. `revops --help`", 0.15, grown["commands"]["help_s"], unit=" s")
        yield Goal(f"f. `revops run list`, {kept} runs kept", 0.3, grown["commands"]["run_list_s"], unit=" s")


def failures(found: Found) -> list[str]:
    """Measurements that came to nothing."""
    every = [(name, measures, number) for number, of in enumerate(found["rounds"], 1) for name, measures in of.items()]
    failed = [f"{name} in round {number}" for name, measures, number in every if "failed" in measures]
    failed += [f"{name}, 50 ms, in round {number}" for name, of, number in every if "failed" in of.get("waiting", {})]
    return failed + (["growth"] if "failed" in (found.get("growth") or {}) else [])


def text(found: Found) -> list[str]:
    """Everything, as Markdown."""
    reached = goals(found)
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    sizes = found["sizes"]
    rounds = len(found["rounds"])
    said = [
        f"{found['machine']}; {versions}.",
        f"Medians of {rounds} interleaved round{'s' * (rounds != 1)}, "
        f"{sizes['many']:,} submitted at once (slow ones fewer: as many as they do in {sizes['patience']:.0f} s), "
        f"{sizes['alone']} alone; {found['minutes']} minutes.",
        "",
        *tables(Medians(found)),
    ]
    if found["quick"]:
        said[:0] = ["Small sizes (`--quick`): that everything runs, and not how fast.", ""]
    if failed := failures(found):
        said += ["", f"Failed, and so not counted: {', '.join(failed)}."]
    if reached:
        said += ["", *markdown(("goal", "wanted", "found", ""), [goal.cells() for goal in reached])]
    return said
