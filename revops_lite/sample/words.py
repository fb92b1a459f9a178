"""Names, titles and people that the tables of the sample share, and how they spell ids and times."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Any

Row = dict[str, Any]

FIRST = (
    "Amara Björn Carla Dmitri Elena Farid Grace Hugo Ines Jonas Keiko Liam Maya Nadia Oscar Priya Quentin Rosa Samir "
    "Tessa Umar Vera Wen Ximena Yusuf Zoë"
)
LAST = (
    "Abbott Bauer Castillo Dubois Eriksen Fontaine Green Haddad Iwata Jansen Kowalski Lindqvist Moreau Nakamura Okafor "
    "Petrov Quinn Rossi Schäfer Thompson Ueda Vargas Whitfield Yilmaz Zhang"
)
TITLES = [
    "VP of Sales",
    "Chief Revenue Officer",
    "Head of Revenue Operations",
    "Director of Marketing",
    "Sales Operations Manager",
    "IT Director",
    "CFO",
    "Finance Manager",
    "Marketing Analyst",
    "Founder & CEO",
]
REPS = [  # as in the sample config.toml: id, name, weight, capacity, open leads
    ("rep-ana", "Ana Ruiz", 2, 60, 21),
    ("rep-ben", "Ben Cole", 1, 40, 12),
    ("rep-chloe", "Chloé Martin", 1, 40, 9),
    ("rep-dev", "Dev Patel", 1, 40, 30),
    ("rep-emil", "Emil Berg", 1, 25, 18),
    ("rep-queue", "Sales queue", 0, 0, 0),
]


def slug(text: str) -> str:
    """ "bjorn-schafer" of "Björn Schäfer"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
