"""Workload W: a new lead of 15 fields, and the four agents that work on it one after the other.

The agents are plain functions of values, each of which returns 2 to 4 fields at once (or after a pause, where the slots
are what is measured). Every peer calls these same functions; this file imports nothing that has to be installed.
"""

from __future__ import annotations

import time
from typing import Any

Values = dict[str, Any]
STEPS = ("enrich", "score", "route", "alert")


def lead(number: int) -> Values:
    """Record number `number`: `id` and 15 fields."""
    return {
        "id": f"n{number}",
        "email": f"ann.{number}@customer{number % 97}.example",
        "firstname": "Ann",
        "lastname": f"Number {number}",
        "company": f"Customer {number % 97}",
        "domain": f"customer{number % 97}.example",
        "jobtitle": "Head of Revenue Operations",
        "phone": f"+1 555 {number % 10_000:04d}",
        "country": "US",
        "state": "NY",
        "city": "New York",
        "source": "website",
        "campaign": "autumn",
        "message": "We would like to see how this works for a team of forty people in three countries.",
        "employees": 40 + number % 900,
        "consent": True,
    }


def enrich(values: Values) -> Values:
    return {"industry": "software", "revenue": values["employees"] * 180_000, "region": "us-east"}


def score(values: Values) -> Values:
    points = min(100, 20 + values["employees"] // 10)
    return {"score": points, "grade": "A" if points > 60 else "B"}


def route(values: Values) -> Values:
    return {
        "owner": f"rep-{values['employees'] % 12}",
        "queue": values["region"],
        "sla": "1h",
        "segment": values["grade"],
    }


def alert(values: Values) -> Values:
    return {"alerted": values["owner"], "alert": f"{values['company']}: {values['score']}"}


AGENTS = {"enrich": enrich, "score": score, "route": route, "alert": alert}


def call(step: str, values: Values, pause: float = 0.0) -> Values:
    """What an agent returns. `pause` seconds are what it waits for somebody else, as for an answer from the network."""
    if pause:
        time.sleep(pause)
    return AGENTS[step](values)


def worked(step: str, values: Values, pause: float = 0.0) -> Values:
    """The values with the agent's among them: what is handed on where nothing keeps a record."""
    return values | call(step, values, pause)
