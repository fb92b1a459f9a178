"""Whether a deal is open, won or lost, from whatever columns tell of it. Where they do not agree it counts as open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from revops_lite.intake.names import plain
from revops_lite.intake.values import flag

State = Literal["open", "won", "lost", "closed"]  # "closed": it is, but how it ended is not told
STATES: tuple[tuple[State, re.Pattern[str]], ...] = (
    ("won", re.compile(r"(?:(?:deal|opportunity|opp|status|closed?) )*won(?: deal)?|closed? ?won\b.*")),
    ("lost", re.compile(r"(?:(?:deal|opportunity|opp|status|closed?) )*lost(?: deal| to \w.*)?|closed? ?lost\b.*")),
    ("won", re.compile(r"gewonnen|gagnee?|ganad[oa]|vinto|gewonnen abgeschlossen|abgeschlossen gewonnen")),
    ("lost", re.compile(r"verloren|perdue?|perdid[oa]|perso|abgeschlossen verloren|abandoned|dead|rejected|declined")),
    ("open", re.compile(r"open|active|in progress|ongoing|new|pending|offen|aktiv|ouverte?|abiert[oa]|current")),
    ("closed", re.compile(r"closed?|done|completed|finished|archived|inactive|deleted|cancell?ed|geschlossen")),
)


def state_of(word: str) -> State | None:
    """What a word of a status or stage column says; None where it says nothing of an end."""
    text = re.sub(r"^\d+ ", "", plain(word))
    return next((state for state, pattern in STATES if pattern.fullmatch(text)), None)


def ends_told(words: set[str]) -> bool:
    """Whether these words of a column tell won from lost deals."""
    return {"won", "lost"} <= {state_of(word) for word in words}


def judge(cells: Mapping[str, str], *, by_probability: bool) -> tuple[State, str]:
    """("won", ""), or ("open", why that is not clear). `cells`: role -> what the row has there, "" for nothing.

    Status and flags come before the stage, and all before a probability of 0 or 100, which counts only with
    `by_probability`.
    """
    told = {role: state for role, state in _told(cells).items() if state}
    if {"won", "lost"} <= set(told.values()) or ("open" in told.values() and set(told.values()) - {"open"}):
        return "open", " but ".join(f'{role} "{cells[role]}"' for role in told)
    chance = _percent(cells.get("probability", ""))
    for state in ("won", "lost", "closed"):
        if state in told.values():
            by_chance: State = "won" if chance == 100 else "lost" if chance == 0 else "closed"
            return (by_chance if state == "closed" else state), ""
    if by_probability and chance in (0, 100):
        return ("won" if chance else "lost"), ""
    return "open", "" if "open" in told.values() else _unclear(cells)


def _told(cells: Mapping[str, str]) -> dict[str, State | None]:
    won, closed = flag(cells.get("won flag", "")), flag(cells.get("closed flag", ""))
    ended: State | None = None if closed is None else "closed" if closed else "open"
    if closed and won is False:
        ended = "lost"
    stage = state_of(cells.get("stage", ""))
    return {
        "status": state_of(cells.get("status", "")),
        "closed flag": ended,
        "won flag": "won" if won else None,
        # A stage called "new" or "done" is a step on the way; only won and lost are an end.
        "stage": stage if stage in ("won", "lost") else None,
    }


def _unclear(cells: Mapping[str, str]) -> str:
    if stage := cells.get("stage"):
        return f'stage "{stage}"' if state_of(stage) == "closed" else ""
    if status := cells.get("status"):
        return f'status "{status}"'
    return "it has no stage" if "stage" in cells else ""


def _percent(cell: str) -> float | None:
    text = cell.strip().removesuffix("%").strip().replace(",", ".")
    return float(text) if re.fullmatch(r"\d{1,3}(?:\.\d{1,6})?", text) else None
