"""A CRM with many open deals, each with five related records: the load of the deal review's benchmark and tests.

Seeded: the same arguments give the same records.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from revops_lite.crm.sqlite import SqliteCrm

RELATIONS = {
    "deal.hubspot_owner_id": "owner",
    "deal.company_id": "company",
    "activity.deal_id": "deal",
    "contact.deal_id": "deal",
}
INCLUDE = ["contacts", "activities", "owner"]
STAGES = ("appointmentscheduled", "qualifiedtobuy", "presentationscheduled", "decisionmakerboughtin", "contractsent")
OWNERS = 20
BATCH = 2000
Row = tuple[str, dict[str, Any]]


def fill(path: Path, deals: int, closed: int, now: datetime, seed: int = 7) -> None:
    """`deals` open ones with 2 contacts, 2 activities and an owner each, and `closed` ones to learn from."""
    rng = random.Random(seed)
    crm = SqliteCrm(path, RELATIONS)
    try:
        crm.put(
            "owner",
            [(f"rep-{n}", {"name": f"Rep {n}", "email": f"rep{n}@example.com"}) for n in range(OWNERS)],
            "import",
        )
        for kind, rows in (
            ("deal", _open(rng, deals, now)),
            ("deal", _closed(rng, closed, now)),
            ("contact", _contacts(rng, deals)),
            ("activity", _activities(rng, deals, now)),
        ):
            page: list[Row] = []
            for row in rows:
                page.append(row)
                if len(page) == BATCH:
                    crm.put(kind, page, "import")
                    page = []
            crm.put(kind, page, "import")
    finally:
        crm.close()


def day(now: datetime, ago: float) -> str:
    return (now - timedelta(days=ago)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _open(rng: random.Random, count: int, now: datetime) -> Iterator[Row]:
    for number in range(count):
        age = rng.randint(1, 200)
        yield (
            f"d{number}",
            {
                "dealname": f"Deal {number}",
                "dealstage": rng.choice(STAGES),
                "amount": f"{rng.randint(1_000, 200_000)}.00" if rng.random() > 0.03 else None,
                "deal_currency_code": "USD",
                "closedate": day(now, rng.randint(-90, 20)),
                "createdate": day(now, age),
                "hs_v2_date_entered_current_stage": day(now, rng.randint(0, age)),
                "notes_last_updated": day(now, rng.randint(0, 40)),
                "hs_next_step": rng.choice(("call", "send the offer", "")) or None,
                "hubspot_owner_id": f"rep-{rng.randrange(OWNERS)}",
                "is_closed": False,
            },
        )


def _closed(rng: random.Random, count: int, now: datetime) -> Iterator[Row]:
    for number in range(count):
        closed = rng.randint(1, 400)
        way = rng.randint(10, 150)
        won = rng.random() < 0.2 + 0.5 * (way < 60)
        values = {
            "dealname": f"Closed {number}",
            "dealstage": "closedwon" if won else "closedlost",
            "amount": f"{rng.randint(1_000, 200_000)}.00",
            "deal_currency_code": "USD",
            "createdate": day(now, closed + way),
            "closedate": day(now, closed),
            "closed_at": day(now, closed),
            "hubspot_owner_id": f"rep-{rng.randrange(OWNERS)}",
            "is_closed": True,
        }
        for stage in STAGES[: rng.randint(1, len(STAGES))]:
            values[f"days_in_{stage}"] = round(way / len(STAGES) * rng.uniform(0.3, 1.7), 1)
        yield f"c{number}", values


def _contacts(rng: random.Random, deals: int) -> Iterator[Row]:
    roles = ("decision_maker", "champion", "end_user", "blocker")
    for number in range(deals):
        for which in range(2):
            yield (
                f"p{number}-{which}",
                {
                    "deal_id": f"d{number}",
                    "firstname": "Ann",
                    "lastname": f"Number {number}",
                    "email": f"ann{number}.{which}@customer.example",
                    "hs_buying_role": rng.choice(roles),
                },
            )


def _activities(rng: random.Random, deals: int, now: datetime) -> Iterator[Row]:
    for number in range(deals):
        for which in range(2):
            yield (
                f"a{number}-{which}",
                {
                    "deal_id": f"d{number}",
                    "hs_timestamp": day(now, rng.randint(0, 40)),
                    "activity_type": rng.choice(("call", "email", "meeting")),
                },
            )
