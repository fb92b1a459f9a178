"""What a test of faults has counted, as one JSON line in the file that REVOPS_CHAOS_REPORT names.

    tell(suite="redis killed", runs=40, fired={"kill redis": 12}, lost=0, duplicated=0, unexplained=0, seed=SEED)

REVOPS_LONG=1 asks for the full sizes, REVOPS_CHAOS_SEED for other moments than the usual ones.
"""

from __future__ import annotations

import json
import os
from typing import Any

LONG = bool(os.environ.get("REVOPS_LONG"))
SEED = int(os.environ.get("REVOPS_CHAOS_SEED", "0"))


def sized(usual: int, full: int) -> int:
    """How many: `usual` in a default run, `full` with REVOPS_LONG."""
    return full if LONG else usual


def tell(**figures: Any) -> None:
    """Print the figures, and append them to the report if there is one. `fired` is what fired, not what was planned."""
    line = json.dumps({"seed": SEED, **figures}, sort_keys=True)
    print(line)
    if name := os.environ.get("REVOPS_CHAOS_REPORT"):
        with open(name, "a", encoding="utf-8") as file:
            file.write(line + "\n")
