"""Whatever an agent returned becomes plain JSON, or the list of reasons why it cannot: never a crash, never a NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json, to_jsonable_python

from revops_lite.agentapi import Proposal
from revops_lite.models import Flag, Notice, Report

MAX_BYTES = 900_000  # of one step's output: it travels in one event
BYTES_A_RECORD = 4_000  # more, for each record that the call was about
MAX_DEPTH = 32
MAX_PROBLEMS = 50  # that are told
MAX_INT_BITS = 256
SEVERITIES = ("low", "medium", "high")


class NotAnAnswer(TypeError):
    """The agent returned something that is no proposal."""


class Output(Struct):
    """JSON-ready proposals, what is wrong with them (any problem makes the whole step invalid), and their bytes."""

    proposals: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    size: int = 0


def normalise(returned: Any, records: int = 0) -> Output:
    """None, a Proposal, or a list or tuple of them. Raises NotAnAnswer for anything else."""
    output = Output()
    for number, proposal in enumerate(_several(returned)):
        problems: list[str] = []
        plain = _plain(proposal, problems)
        prefix = f"[{number}] " if isinstance(returned, list | tuple) and len(returned) > 1 else ""
        output.problems += [f"{prefix}{problem}" for problem in problems]
        output.proposals.append(plain)
    output.size, limit = len(to_json(output.proposals)), MAX_BYTES + BYTES_A_RECORD * records
    if output.size > limit:
        output.problems.append(f"the output is {output.size:,} bytes; at most {limit:,} are taken")
        output.proposals = []
    del output.problems[MAX_PROBLEMS:]
    return output


def _several(returned: Any) -> Sequence[Proposal]:
    if returned is None:
        return ()
    several = returned if isinstance(returned, list | tuple) else (returned,)
    for one in several:
        if not isinstance(one, Proposal):
            what = f"a {type(returned).__name__}"
            if one is not returned:
                what += f" with a {type(one).__name__} in it"
            raise NotAnAnswer(f"returned {what}; an agent returns a Proposal, a list of them, or None")
    return several


def _plain(proposal: Proposal, problems: list[str]) -> dict[str, Any]:
    """The proposal as JSON values; a part that cannot be is left out and stands in `problems`."""
    target = proposal.target
    if target is not None and not (isinstance(target, str) and ":" in target and target.isprintable()):
        problems.append(f"target: write it as 'kind:id', not {short(target)}")
        target = None
    return {
        "values": _values(proposal.values, problems),
        "confidence": _confidence(proposal.confidence, problems),
        "because": _text("because", proposal.because, problems),
        "target": target,
        "flags": _parts("flags", proposal.flags, Flag, problems),
        "clears": [_text("clears", code, problems) for code in _listed("clears", proposal.clears, problems)],
        "notices": _notices(proposal.notices, problems),
        "reports": _parts("reports", proposal.reports, Report, problems),
    }


def _values(values: Any, problems: list[str]) -> dict[str, Any]:
    """The sound fields; one that is not leaves the others alone."""
    if not isinstance(values, BaseModel | Mapping):
        problems.append(f"values: a pydantic model or a mapping is wanted, not a {type(values).__name__}")
        return {}
    try:
        fields = _dumped(values) if isinstance(values, BaseModel) else dict(values)
    except Exception as error:
        problems.append(f"values: not JSON: {one_line(error, 200)}")
        return {}
    sound: dict[str, Any] = {}
    for name, value in fields.items():
        if not isinstance(name, str) or not _encodable(name):
            problems.append(f"{short(name)}: a field's name is plain text")
            continue
        try:
            plain = to_jsonable_python(value, inf_nan_mode="constants")
        except Exception as error:
            problems.append(f"{one_line(name)}: not JSON: {one_line(error, 200)}")
            continue
        found = list(_faults(name, plain, 1))
        problems += found
        if not found:
            sound[name] = plain
    return sound


def _dumped(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_unset=False, exclude_none=True, warnings=False)


def _faults(path: str, value: Any, depth: int) -> Iterator[str]:
    """What in a value cannot be JSON that every reader takes."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{one_line(path)}: {value} is not a number"
    elif isinstance(value, str) and not _encodable(value):
        yield f"{one_line(path)}: text with half a character (a lone surrogate)"
    elif isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        yield f"{one_line(path)}: a number of {value.bit_length()} bits; at most {MAX_INT_BITS} are taken"
    elif isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            yield f"{one_line(path)}: nested deeper than {MAX_DEPTH}"
            return
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in inner:
            if isinstance(name, str) and not _encodable(name):
                yield f"{one_line(path)}: a key with half a character (a lone surrogate)"
            yield from _faults(f"{path}.{name}", part, depth + 1)


def _confidence(given: Any, problems: list[str]) -> dict[str, float]:
    """{"*": x}, or one per field; what is not within 0..1 is a problem."""
    several = given if isinstance(given, Mapping) else {"*": given}
    sound: dict[str, float] = {}
    for name, value in several.items():
        if not isinstance(name, str) or not _encodable(name):
            problems.append(f"confidence: {short(name)} is no field's name")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            where = "confidence" if name == "*" else f"confidence of {one_line(name)}"
            problems.append(f"{where}: a number from 0 to 1 is wanted (got {short(value)})")
        else:
            sound[name] = float(value)
    return sound


def _notices(several: Any, problems: list[str]) -> list[dict[str, Any]]:
    plain: list[dict[str, Any]] = []
    for part in _listed("notices", several, problems):
        if isinstance(part, Notice):
            about = [_text("notices.about", code, problems) for code in _listed("notices.about", part.about, problems)]
            slots = ("to", "subject", "body", "key", "report")
            texts = {slot: _text(f"notices.{slot}", getattr(part, slot), problems) for slot in slots}
            plain.append({**texts, "about": about})
        else:
            problems.append(f"notices: a Notice is wanted, not a {type(part).__name__}")
    return plain


def _parts(name: str, several: Any, kind: type[Any], problems: list[str]) -> list[dict[str, str]]:
    plain = []
    for part in _listed(name, several, problems):
        if not isinstance(part, kind):
            problems.append(f"{name}: a {kind.__name__} is wanted, not a {type(part).__name__}")
            continue
        texts = {slot: _text(f"{name}.{slot}", getattr(part, slot), problems) for slot in kind.__slots__}
        if kind is Flag and texts["severity"] not in SEVERITIES:
            problems.append(f"flags.severity: low, medium or high is wanted (got {short(texts['severity'])})")
            continue
        plain.append(texts)
    return plain


def _listed(name: str, several: Any, problems: list[str]) -> Sequence[Any]:
    if isinstance(several, list | tuple):
        return several
    problems.append(f"{name}: a list is wanted, not a {type(several).__name__}")
    return ()


def _text(name: str, value: Any, problems: list[str]) -> str:
    if isinstance(value, str) and _encodable(value):
        return str(value)
    problems.append(f"{name}: text is wanted (got {short(value)})")
    return ""


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def schema_problems(error: ValidationError) -> list[str]:
    """One line per finding of the agent's own model: "field: message (got value)"."""
    return [
        one_line(f"{'.'.join(map(str, one['loc'])) or 'values'}: {one['msg']} (got {short(one['input'])})", 300)
        for one in error.errors(include_url=False, include_context=False)[:MAX_PROBLEMS]
    ]


def short(value: Any, limit: int = 80) -> str:
    """Any value in a few printable characters, even one whose own repr fails."""
    try:
        text = repr(value)
    except BaseException as error:  # an agent's object may do anything here
        if not isinstance(error, Exception):
            raise
        text = f"<{type(value).__name__}>"
    return one_line(text, limit)


def one_line(text: object, limit: int = 500) -> str:
    """One printable line of at most `limit` characters: no control, bidi or half characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in _str(text)[: limit * 4])
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _str(text: object) -> str:
    try:
        return str(text)
    except Exception:
        return f"<{type(text).__name__}>"
