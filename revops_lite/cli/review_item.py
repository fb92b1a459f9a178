"""One item as a reviewer sees it, and what each key does to it. Pure: values in, lines and actions out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from msgspec import Struct
from rich.cells import cell_len, chop_cells

from revops_lite.clean import clean
from revops_lite.cli import shapes
from revops_lite.cli.crm_cmds import parsed
from revops_lite.cli.deciding import subject
from revops_lite.models import Hold, Reason, Review

LABEL = 11  # columns of the names on the left
LINES = 3  # of one value, and ROWS of one kind, until `v` shows all
ROWS = 8
Paint = Callable[[str, str], str]  # text and the name of a style -> text that is seen as the same letters


class Action(Enum):
    """What a key does. The value is what `?` says of it."""

    ACCEPT = "accept: write the proposed value, in your name"
    EDIT = "edit: write another value; a whole step goes on with these values"
    REJECT = "reject, with a reason; a whole step ends without output"
    RETRY = "retry: let the agent of a whole step try again"
    SKIP = "skip: it goes on waiting"
    ALL = "accept all of this agent and field that wait; says how many first"
    HOLD = "hold the record, with a reason: nothing of it is written until released"
    UNDO = "undo the last decision; the next one, or the end, makes it final"
    VIEW = "view all of this item"
    HELP = "help"
    QUIT = "quit; the last decision is sent"


KEYS = {
    "y": Action.ACCEPT,
    "a": Action.ACCEPT,
    "e": Action.EDIT,
    "r": Action.REJECT,
    "t": Action.RETRY,
    "s": Action.SKIP,
    "A": Action.ALL,
    "h": Action.HOLD,
    "u": Action.UNDO,
    "v": Action.VIEW,
    "?": Action.HELP,
    "q": Action.QUIT,
}
ALWAYS = (Action.SKIP, Action.HOLD, Action.VIEW, Action.HELP, Action.QUIT)


class Seen(Struct, frozen=True):
    """An item with what stands around it. `holds` are those in force on its record, by field ("*": all of it)."""

    item: Review
    now: float
    workflow: str = ""
    holds: Mapping[str, Hold] | None = None


def plain(text: str, style: str) -> str:
    """No colour."""
    del style
    return text


# ---- keys --------------------------------------------------------------------------------------------------------


def fitting(item: Review, undo: bool) -> tuple[Action, ...]:
    """What can be done with an item, in the order of the keys; `undo`: there is a decision to take back."""
    if item.field is not None:
        fit = {Action.ACCEPT, Action.EDIT, Action.REJECT, Action.ALL}
    elif item.reason is Reason.CHECKPOINT:
        fit = {Action.EDIT, Action.REJECT, Action.RETRY}
    else:
        fit = {Action.REJECT, Action.RETRY}
    fit |= set(ALWAYS)
    if item.reason is Reason.DEAD_LETTER:  # nothing of it could be written
        fit.remove(Action.HOLD)
    return tuple(action for action in dict.fromkeys(KEYS.values()) if action in fit or (undo and action is Action.UNDO))


def key_of(action: Action) -> str:
    return next(key for key, named in KEYS.items() if named is action)


def question(item: Review, undo: bool) -> str:
    """The line that asks for a key."""
    keys = ",".join(key_of(action) for action in fitting(item, undo))
    return f"{'Accept' if item.field else 'What now'}? [{keys}] "


def action_for(key: str, item: Review, undo: bool) -> Action | str:
    """What a key does to this item; or, as text, why it does nothing."""
    action = KEYS.get(key)
    if action is None:
        return "" if not key else f"{clean(key, limit=8)} is no key here; ? explains them"
    if action in fitting(item, undo):
        return action
    match action:
        case Action.UNDO:
            return "nothing to take back: the last decision has been sent"
        case Action.HOLD:
            return "nothing of this event could be written: there is nothing to hold"
        case Action.RETRY:
            return "only a whole step can be tried again; accept, edit or reject this value"
        case _:
            words = " or ".join(each.name.lower() for each in fitting(item, False) if each not in ALWAYS)
            return f"{action.name.lower()} does not fit a whole step ({item.reason}); {words} it"


def explained(item: Review, undo: bool) -> list[str]:
    """What `?` shows."""
    fit = fitting(item, undo)
    return [f"  {key_of(action) if action is not Action.ACCEPT else 'y a':<4}{action.value}" for action in fit]


# ---- what was typed ----------------------------------------------------------------------------------------------


def typed(value: Any) -> str:
    """A value as one would type it: `parsed` of it is the value again. Text stays bare where it can."""
    if isinstance(value, str) and value and value.strip() == value and parsed(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def prefill(value: Any) -> str:
    """What an edit begins with: nothing where the value would not be seen as it is."""
    text = "" if value is None else typed(value)
    return text if clean(text) == text and cell_len(text) <= 500 else ""


# ---- lines -------------------------------------------------------------------------------------------------------


def lines(seen: Seen, place: str, width: int, paint: Paint = plain) -> list[str]:
    """The item in short, for a terminal of `width` columns; `place` is such as "3 of 12"."""
    item = seen.item
    head = f"{item.reason}, {shapes.ago(item.created_at, seen.now)}"
    title = _folded(subject(item), width, LINES)
    top = f"[{clean(place)}] {head}"
    return [
        "",
        paint(top, "dim"),
        *(paint(line, "bold") for line in title),
        *(line for row in _rows(seen) for line in _row(*row, width, LINES, paint)),
    ]


def whole(seen: Seen, width: int, paint: Paint = plain) -> list[str]:
    """All of the item, as `v` shows it."""
    item = seen.item
    rows = [
        ("item", item.id),
        *_rows(seen, None),
        ("since", shapes.stamp(item.created_at) or ""),
        *([("ends by", shapes.stamp(item.expires_at) or "")] if item.expires_at else []),
        *(("output", json.dumps(output, ensure_ascii=False)) for output in item.output),
    ]
    return ["", *(line for row in rows for line in _row(*row, width, None, paint))]


def _rows(seen: Seen, most: int | None = ROWS) -> Iterator[tuple[str, str]]:
    """Names and texts; `most` of a kind, all with None."""
    item = seen.item
    if item.field is not None:
        yield "current", shown(item.current)
        yield "proposed", shown(item.proposed)
    elif isinstance(item.proposed, Mapping):
        word = "event" if item.reason is Reason.DEAD_LETTER else "value"
        yield from _some([(word, f"{name} = {shown(value)}") for name, value in item.proposed.items()], most)
    if item.competing:
        rival = item.competing
        yield "against", f"{shown(rival.get('value'))}, by {rival.get('writer')}{_sure(rival.get('confidence'))}"
    if item.agent:
        yield "by", f"{item.agent}{_sure(item.confidence)}"
    if item.because:
        yield "because", item.because
    yield from _some([("problem", text) for text in item.problems], most)
    for name, hold in (seen.holds or {}).items():
        where = "the record" if name == "*" else name
        yield "on hold", f"{where}, by {hold.by}: {hold.reason}"
    if item.run:
        step = f", step {item.step}" if item.step else ""
        yield "run", f"{item.run}{' of ' + seen.workflow if seen.workflow else ''}{step}"
    if item.note:
        yield "note", item.note


def _some(rows: Sequence[tuple[str, str]], most: int | None) -> Iterator[tuple[str, str]]:
    yield from rows[:most]
    if most is not None and len(rows) > most:
        yield "", f"… and {len(rows) - most} more (v: all)"


def _sure(confidence: Any) -> str:
    return f", confidence {confidence:.2f}" if isinstance(confidence, int | float) else ""


def shown(value: Any) -> str:
    """A value as it is read: text that looks like something else is quoted, nothing is "(none)"."""
    return "(none)" if value is None else typed(value)


def _row(name: str, text: str, width: int, most: int | None, paint: Paint) -> list[str]:
    space = max(width - LABEL - 2, 16)
    first, *rest = _folded(text, space, most)
    colour = {"current": "red", "proposed": "green", "problem": "yellow", "on hold": "yellow"}.get(name, "")
    label = f"  {name:<{LABEL}}"
    return [label + paint(first, colour), *(" " * len(label) + paint(line, colour) for line in rest)]


def _folded(text: str, width: int, most: int | None) -> list[str]:
    """Cleaned text in lines of at most `width` columns, broken between words where there are any; with `most`, cut."""
    enough = len(text) if most is None else width * (most + 1)
    cleaned = clean(text[:enough], newlines=most is None)
    pieces = [line for part in cleaned.split("\n") for line in _wrapped(part, width)]
    if most is None or (len(pieces) <= most and len(text) <= enough):
        return pieces
    mark = "… (v: all)"
    kept = pieces[:most]
    end = chop_cells(kept[-1], max(width - len(mark), 1))
    return [*kept[:-1], (end[0] if end else "") + mark]


def _wrapped(text: str, width: int) -> Iterator[str]:
    text = text.expandtabs(4)
    while cell_len(text) > width:
        line = chop_cells(text, width)[0] or text[0]
        at = line.rfind(" ", len(line) * 2 // 3)
        if at > 0 and text[len(line)] != " ":
            line = line[: at + 1]
        yield line.rstrip()
        text = text[len(line) :].lstrip(" ")
    yield text


# ---- how it went -------------------------------------------------------------------------------------------------


def summary(counts: Mapping[str, int], left: int, undelivered: int) -> list[str]:
    """The end of a session. `counts`: accepted, edited, rejected, retried, skipped; `left` is what still waits."""
    words = ("accepted", "edited", "rejected", "retried", "skipped")
    told = ", ".join(f"{counts.get(word, 0)} {word}" for word in words if word != "retried" or counts.get(word))
    lines = ["", f"{told}; {left} left"]
    if undelivered:
        lines.append(f"{undelivered} decision(s) wait for `revops up` to carry them out")
    return lines


def breakdown(items: Collection[Review]) -> str:
    """Reasons and how many of each."""
    return ", ".join(f"{number} {reason}" for reason, number in Counter(item.reason for item in items).most_common())
