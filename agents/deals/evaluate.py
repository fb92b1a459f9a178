"""How good a forecast would have been: python -m agents.deals.evaluate [DEALS.csv | FOLDER]

The model learns from the deals that closed first and is judged by looks at the later ones, each look being later than
all it has learnt from. Brier scores are shown beside those of the stage rates, with a calibration table. The same is
done with outcomes dealt out anew, which no model can know anything of. A FOLDER holds the tables opportunities, leads,
contacts and accounts of the leadforge data. Deals that were made up with known chances are judged, too.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from agents.deals.accuracy import Accuracy, judged
from agents.deals.forecast_model import Model, stage_rates, train
from agents.deals.logit import sigmoid
from agents.deals.looks import Seen, lives, looks
from agents.deals.reading import held, outcome, rules
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


def split(rows: Sequence[Row], s: Rules) -> tuple[list[Row], list[Seen], float]:
    """Deals that closed before a day, looks from that day on at the deals that closed later, and the day."""
    ended = [life for life in lives(rows, s) if life.end is not None]
    day = ended[int(len(ended) * EARLIER)].end or 0.0
    later = [life for life in ended if (life.end or 0.0) >= day]
    return [life.row for life in ended if (life.end or 0.0) < day], [x for x in looks(later, s) if x.day >= day], day


def judge(rows: Sequence[Row], s: Rules) -> tuple[Model, Accuracy, Accuracy] | None:
    """The model of the earlier deals, its accuracy at the later ones and that of the earlier deals' stage rates."""
    earlier, later, _ = split(rows, s)
    if not earlier or not later:
        return None
    taught, rates = train(earlier, s), stage_rates(looks(lives(earlier, s), s), s)
    told = [(sigmoid(taught.odds(seen.look, s)), seen.won) for seen in later]
    return taught, judged(told), judged([(sigmoid(rates.of(seen.look.stage)), seen.won) for seen in later])


def report(title: str, rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    s = rules(settings, FORECAST)
    closed = sum(outcome(row, s) is not None for row in rows)
    lines = [f"{title}: {len(rows)} deals, {closed} closed", f"  all closed deals: {train(rows, s).why()}"]
    found = judge(rows, s)
    if found is None:
        return "\n".join([*lines, "  too few to be split into earlier and later"])
    taught, told, rates = found
    lines.append(f"  the earlier: {taught.why()}")
    lines.append(f"  {told.count} looks at the later: Brier {told.brier:.4f}, stage rates {rates.brier:.4f}")
    lines.append("  forecast      looks  mean   won")
    lines += [f"  {b.low:.1f} to {b.high:.1f} {b.count:9}  {b.mean:.2f}  {b.won:.2f}" for b in told.bins]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    given = Path(arguments[0]) if arguments else None
    least = {"min_closed": 100}  # the earlier part of a small file has to be fitted, too
    if given is not None:
        rows = leadforge(given) if given.is_dir() else list(table(given))
        known = [
            name
            for name in TRAITS
            if any(held({name: row.get(name)}, name, {"fields": {name: [name]}}) for row in rows)
        ]
        for title, settings in (("without traits", least), (f"with {', '.join(known)}", least | {"traits": known})):
            print(report(f"{given.name}, {title}", rows, settings))
        print(report(f"{given.name}, outcomes dealt anew", dealt_anew(rows, rules({}, FORECAST)), least))
    invented = made_up()
    print(report("made up", invented, {"traits": ["lead_source"]}))
    print(
        report("made up, outcomes dealt anew", dealt_anew(invented, rules({}, FORECAST)), {"traits": ["lead_source"]})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
