"""How good a forecast would have been: python -m agents.deals.evaluate [DEALS.csv | FOLDER]

The model learns from the deals that closed first and is judged by looks at the later ones, each look being later than
all it has learnt from. Brier scores are shown beside those of the stage rates, with a calibration table. The same is
done with outcomes dealt out anew, which no model can know anything of. A FOLDER holds the tables opportunities, leads,
contacts and accounts of the leadforge data. Deals that were made up with known chances are judged, too.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from agents.deals.accuracy import Accuracy, judged
from agents.deals.forecast_model import Model, stage_rates, train
from agents.deals.logit import sigmoid
from agents.deals.looks import Look, Seen, lives, looks
from agents.deals.reading import outcome, rules
from agents.forecasting import FORECAST

Row = Mapping[str, Any]
Rules = Mapping[str, Any]
EARLIER = 0.6  # share of the closed deals that is learnt from
TRAITS = ("lead_source", "seniority", "role_function", "industry", "employee_band")
JOINS = (("leads", "lead_id"), ("contacts", "contact_id"), ("accounts", "account_id"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def leadforge(folder: Path) -> list[Row]:
    """The opportunities, each with what its lead, contact and account say; its own fields go first."""
    rows: list[Row] = list(table(folder / "opportunities.csv"))
    for name, key in JOINS:
        known = {row[key]: row for row in table(folder / f"{name}.csv")}
        rows = [{**known.get(row[key], {}), **row} for row in rows]
    return rows


def made_up(count: int = 1200, seed: int = 7) -> list[Row]:
    """Closed deals in HubSpot's fields whose chances hang on source, amount and how they were worked."""
    dice = Random(seed)
    rows: list[Row] = []
    for _ in range(count):
        source, stale = dice.choice(("referral", "inbound", "outbound")), dice.random() < 0.4
        amount = round(10 ** dice.uniform(3.5, 5.5))
        made = datetime(2024, 1, 1) + timedelta(days=dice.uniform(0, 700))
        stays = [dice.expovariate(1 / 14) * (2 if stale else 1) for _ in range(3)]
        odds = {"referral": 1.2, "inbound": 0.0, "outbound": -0.9}[source] - 1.6 * stale - 0.9 * (amount > 60_000)
        reached = 1 + (dice.random() < sigmoid(odds + 1.5)) + (dice.random() < sigmoid(odds + 1))
        won = reached == 3 and dice.random() < sigmoid(odds + 0.7)
        stages = dict(zip(("qualifiedtobuy", "presentationscheduled", "contractsent"), stays[:reached], strict=False))
        rows.append(
            {"dealstage": "closedwon" if won else "closedlost", "amount": str(amount), "lead_source": source}
            | {"createdate": made.isoformat(), "closedate": (made + timedelta(days=sum(stages.values()))).isoformat()}
            | {f"days_in_{stage}": str(stay) for stage, stay in stages.items()}
            | {"revops_risk_level": "medium", "revops_risk_flags": "stale_activity" if stale else ""}
        )
    return rows


def dealt_anew(rows: Sequence[Row], s: Rules, seed: int = 7) -> list[Row]:
    """The same deals with their outcomes dealt out anew: nothing about them tells who was won."""
    closed = [row for row in rows if outcome(row, s) is not None]
    ends = ["closed_won" if outcome(row, s) else "closed_lost" for row in closed]
    Random(seed).shuffle(ends)
    names = s["fields"]["outcome"]
    return [{**row, **dict.fromkeys(names, ""), names[0]: end} for row, end in zip(closed, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A model and its accuracy at deals that closed later; beside it the stage rates' and that of a fit not used."""

    taught: Model
    told: Accuracy
    rates: Accuracy
    tried: Accuracy | None


def split(rows: Sequence[Row], s: Rules) -> tuple[list[Row], list[Seen]]:
    """The deals that closed before a day, and looks from that day on at those that closed later."""
    ended = [life for life in lives(rows, s) if life.end is not None]
    if not ended:
        return [], []
    day = ended[int(len(ended) * EARLIER)].end or 0.0
    later = [life for life in ended if (life.end or 0.0) >= day]
    return [life.row for life in ended if (life.end or 0.0) < day], [x for x in looks(later, s) if x.day >= day]


def judge(rows: Sequence[Row], s: Rules) -> Judgement | None:
    """What the deals that closed first teach, judged at the later ones; None where there are too few of either."""
    earlier, later = split(rows, s)
    if not earlier or not later:
        return None
    taught, rates = train(earlier, s), stage_rates(looks(lives(earlier, s), s), s)

    def at(odds: Callable[[Look], float]) -> Accuracy:
        return judged([(sigmoid(odds(seen.look)), seen.won) for seen in later])

    told, base = at(lambda look: taught.odds(look, s)), at(lambda look: rates.of(look.stage))
    return Judgement(taught, told, base, at(taught.fit.odds) if taught.fit else None)


def report(title: str, rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    s = rules(settings, FORECAST)
    closed = sum(outcome(row, s) is not None for row in rows)
    lines = [f"{title}: {len(rows)} deals, {closed} closed", f"  all closed deals: {said(train(rows, s))}"]
    found = judge(rows, s)
    if found is None:
        return "\n".join([*lines, "  too few to be split into earlier and later"])
    lines.append(f"  the earlier {found.taught.deals}: {said(found.taught)}")
    lines.append(f"  {found.told.count} looks at the later: Brier {found.told.brier:.4f}, {told_of(found)}")
    lines.append("  forecast       looks  mean   won")
    lines += [f"  {b.low:.1f} to {b.high:.1f} {b.count:9}  {b.mean:.2f}  {b.won:.2f}" for b in found.told.bins]
    return "\n".join(lines)


def said(taught: Model) -> str:
    if taught.fitted is None or taught.rated is None:
        return "too few for a fit, the settings' weights are used"
    scores = f"cross-validated Brier {taught.fitted.brier:.4f}, stage rates {taught.rated.brier:.4f}"
    return f"{scores}: " + ("the fit is used" if taught.way == "fit" else "not surely better, the stage rates are used")


def told_of(found: Judgement) -> str:
    told = f"stage rates {found.rates.brier:.4f}"
    return (
        told if found.tried is None or found.taught.way == "fit" else f"{told}, the unused fit {found.tried.brier:.4f}"
    )


def given(path: Path) -> list[str]:
    """The reports about a user's data."""
    rows: Sequence[Row] = leadforge(path) if path.is_dir() else table(path)
    known = [name for name in TRAITS if any(row.get(name) for row in rows)]
    least: dict[str, Any] = {"min_closed": 100}  # the earlier part of a small file has to be fitted, too
    tasks: list[tuple[str, Sequence[Row], dict[str, Any]]] = [("without traits", rows, least)]
    tasks += [(f"with {', '.join(known)}", rows, least | {"traits": known})] if known else []
    tasks += [("outcomes dealt anew", dealt_anew(rows, rules({}, FORECAST)), least)]
    return [report(f"{path.name}, {title}", each, settings) for title, each, settings in tasks]


def main(arguments: Sequence[str]) -> int:
    invented, settings = made_up(), {"traits": ["lead_source"]}
    told = given(Path(arguments[0])) if arguments else []
    told.append(report("made up", invented, settings))
    told.append(report("made up, outcomes dealt anew", dealt_anew(invented, rules({}, FORECAST)), settings))
    print("\n\n".join(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
