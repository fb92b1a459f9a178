"""Checkpoint: whether an agent's output may be handed on. What passes is plain JSON that the agent's schema accepts."""

from __future__ import annotations

from collections.abc import Mapping, Set
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import isfinite, isnan
from operator import gt, lt
from reprlib import Repr
from typing import Any

from msgspec import Struct, json
from pydantic import BaseModel, ValidationError

from revops_lite.policy import FieldPolicy
from revops_lite.values import MASK

MAX_BYTES = 1_000_000  # of all values as JSON
CERTAINLY_FEW = MAX_BYTES // 32  # parts and letters of which each takes 26 bytes at most as JSON
MAX_DEPTH = 32
INTEGER_BITS = 63  # beyond, CRMs and JSON readers silently round
MAX_PROBLEMS = 50
SHOWN = 80
MESSAGE_SHOWN = 300


class Checked(Struct, frozen=True):
    """Normalised JSON values without those that are None, and what is wrong with them: nothing, or nothing passes."""

    values: dict[str, Any]
    problems: tuple[str, ...]


class _Unfit(Exception):
    """A value that is no JSON, or too much of it; the message says why."""


def check(
    values: Mapping[str, Any], schema: type[BaseModel] | None, fields: Mapping[str, FieldPolicy], kind: str
) -> Checked:
    """Validate one proposal for a record of `kind`, strictly: nothing is coerced that JSON can tell apart.

    `fields` are the field rules by "kind.field". A value of None is not proposed. Without any value there is nothing
    to check. With a problem, `values` is empty. Each problem is one printable line, without a sensitive field's value.
    Never raises.
    """
    hidden = frozenset(name for name in values if (rules := fields.get(f"{kind}.{name}")) and rules.sensitive)
    proposed = {str(name): value for name, value in values.items() if value is not None}
    problems = _undeclared(proposed, schema)
    if schema is None or not proposed:
        return _refused(problems) if problems else Checked({}, ())
    declared = {name: value for name, value in proposed.items() if name in fields_of(schema)}
    unfit = _unfit(declared, hidden)
    problems += unfit.values()
    found: dict[str, Any] = {}
    if "" not in unfit:
        fit = {name: value for name, value in declared.items() if name not in unfit}
        found, complaints = _validated(fit, schema, frozenset(unfit), hidden)
        problems += [*complaints, *_unfit(found, hidden).values(), *_out_of_bounds(found, fields, kind)]
    return _refused(problems) if problems else Checked(found, ())


def fields_of(schema: type[BaseModel] | None) -> frozenset[str]:
    """The names of the fields that an agent declares."""
    return _declared(schema) if schema is not None else frozenset()


@lru_cache(maxsize=256)  # pydantic takes its time to tell, and is asked for every value
def _declared(schema: type[BaseModel]) -> frozenset[str]:
    return frozenset(schema.model_fields)


def _refused(problems: list[str]) -> Checked:
    more = len(problems) - MAX_PROBLEMS
    kept = problems if more <= 0 else [*problems[:MAX_PROBLEMS], f"and {more} more problems"]
    return Checked({}, tuple(kept))


def _undeclared(values: Mapping[str, Any], schema: type[BaseModel] | None) -> list[str]:
    declared = fields_of(schema)
    return [f"field {_shown(name)} is not declared by this agent" for name in values if name not in declared]


# ---- plain JSON --------------------------------------------------------------------------------------------------


def _unfit(values: Mapping[str, Any], hidden: Set[str]) -> dict[str, str]:
    """Problems by field; under "" when all of it together is too large."""
    problems: dict[str, str] = {}
    budget = MAX_BYTES
    for name, value in values.items():
        try:
            budget = _walk(value, MAX_DEPTH, budget)
        except _Unfit as problem:
            problems[name] = f"{_label(name)}: {problem}{_got(value, name in hidden)}"
        if budget < 0:
            return {"": f"the values are larger than {MAX_BYTES:,} bytes"}
    if MAX_BYTES - budget < CERTAINLY_FEW:
        return problems
    fit = {name: value for name, value in values.items() if name not in problems}
    size = len(json.encode(fit))
    return {"": f"the values have {size:,} bytes, at most {MAX_BYTES:,} are allowed"} if size > MAX_BYTES else problems


def _walk(value: Any, depth: int, budget: int) -> int:
    """Look at every part of a value; returns what is left of the budget of bytes, and stops where none is."""
    budget -= 1
    if budget < 0 or value is None or isinstance(value, bool):
        return budget
    if isinstance(value, int):
        if value.bit_length() > INTEGER_BITS:
            raise _Unfit("the integer does not fit 64 bits")
        return budget
    if isinstance(value, float):
        if not isfinite(value):
            raise _Unfit("not a finite number")
        return budget
    if isinstance(value, str):
        if not _encodable(value):
            raise _Unfit("the text holds half a surrogate pair")
        return budget - len(value)
    return _walk_into(value, depth - 1, budget)


def _walk_into(value: Any, depth: int, budget: int) -> int:
    if not isinstance(value, dict | list | tuple):
        raise _Unfit(f"{type(value).__name__} is no JSON type")
    if depth < 0:
        raise _Unfit(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        if not all(isinstance(name, str) and _encodable(name) for name in value):
            raise _Unfit("a key is no proper text")
        budget -= sum(map(len, value))
    for part in value.values() if isinstance(value, dict) else value:
        budget = _walk(part, depth, budget)
    return budget


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


# ---- the agent's schema ------------------------------------------------------------------------------------------


def _validated(
    values: Mapping[str, Any], schema: type[BaseModel], absent: Set[str], hidden: Set[str]
) -> tuple[dict[str, Any], list[str]]:
    """Normalised values and the schema's complaints; fields in `absent` have had theirs and are not missed."""
    try:
        try:
            model = schema.model_validate_json(json.encode(values), strict=True, by_alias=False, by_name=True)
        except ValidationError as error:
            return {}, _complaints(error, absent, hidden)
        dumped = model.model_dump(mode="json", by_alias=False, warnings="error")
        return {n: dumped[n] for n in dumped if n in model.model_fields_set and dumped[n] is not None}, []
    except BaseException as error:  # validators are the agent's code: not even SystemExit may end the controller
        return {}, [f"the schema {schema.__name__} failed: {type(error).__name__}{_message(error)}"]


def _complaints(error: ValidationError, absent: Set[str], hidden: Set[str]) -> list[str]:
    lines = []
    for detail in error.errors(include_url=False, include_context=False):
        missing = detail["type"] == "missing"
        if missing and len(detail["loc"]) == 1 and detail["loc"][0] in absent:
            continue
        where = ".".join(_label(str(part)) for part in detail["loc"])
        got = "" if missing or not where else _got(detail["input"], detail["loc"][0] in hidden)
        lines.append((f"{where}: " if where else "") + _printable(detail["msg"], MESSAGE_SHOWN) + got)
    return lines


# ---- the field rules ---------------------------------------------------------------------------------------------


def _out_of_bounds(values: Mapping[str, Any], fields: Mapping[str, FieldPolicy], kind: str) -> list[str]:
    problems = []
    for name, value in values.items():
        rules = fields.get(f"{kind}.{name}")
        wrong = _bound(value, rules.minimum, rules.maximum) if rules else None
        if wrong:
            problems.append(f"{_label(name)}: {wrong}{_got(value, bool(rules and rules.sensitive))}")
    return problems


def _bound(value: Any, minimum: float | None, maximum: float | None) -> str | None:
    if minimum is None and maximum is None:
        return None
    number = _number(value)
    if number is None:
        return "Input should be a number, since the field has a minimum or maximum"
    for limit, words, beyond in ((minimum, "greater", lt), (maximum, "less", gt)):
        if limit is not None and (isnan(limit) or beyond(number, Decimal(str(limit)))):
            return f"Input should be {words} than or equal to {Decimal(str(limit)).normalize():f}"
    return None


def _number(value: Any) -> Decimal | None:
    """A number, or money as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# ---- lines for people --------------------------------------------------------------------------------------------


def _shown(value: Any) -> str:
    """At most 80 printable characters of a value; what is not printable is escaped."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = 2 * SHOWN
    try:
        return _printable(short.repr(value), SHOWN)
    except ValueError:  # an integer with thousands of digits has no text at all
        return f"a huge {type(value).__name__}"


def _got(value: Any, hidden: bool) -> str:
    return f" (got {MASK if hidden else _shown(value)})"


def _label(name: str) -> str:
    return _printable(name, SHOWN)


def _message(error: BaseException) -> str:
    try:
        text = _printable(str(error), MESSAGE_SHOWN)
    except BaseException:  # the agent's code again
        text = "(it cannot even say why)"
    return f": {text}" if text else ""


def _printable(text: str, limit: int) -> str:
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"
