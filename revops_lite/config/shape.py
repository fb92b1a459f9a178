"""From TOML data to `Config`: every wrong key and type becomes a problem, and what is left is still read.

Reading on without the broken parts lets one start report all that is wrong, not only the first layer of it.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from revops_lite.config.positions import Key
from revops_lite.config.problems import Problem, quoted, suggest, unknown
from revops_lite.config.tables import Config

_NAMED = {"agents": 2, "workflows": 2, "governance": 3, "notify": 3}  # how deep a table with a free name lies
_SECRET = re.compile(r"token|secret|password|passwd|api_?key|private_?key|^url$|^key$|credential", re.IGNORECASE)
_TAKES = {
    "string_type": "takes text in quotes",
    "int_type": "takes a whole number",
    "int_from_float": "takes a whole number",
    "float_type": "takes a number",
    "finite_number": "takes a finite number",
    "bool_type": "takes true or false",
    "dict_type": "takes a table",
    "model_type": "takes a table",
    "tuple_type": "takes a list",
    "path_type": "takes text in quotes",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def read(data: dict[str, Any]) -> tuple[Config, list[Problem]]:
    """The configuration without its broken parts, and a problem for each of these."""
    problems: list[Problem] = []
    rest = copy.deepcopy(data)
    while True:
        try:
            return Config.model_validate(rest), problems
        except ValidationError as error:
            errors = error.errors(include_url=False)
            told = {problem.key for problem in problems}
            problems += [_problem(each) for each in errors if each["loc"] not in told]
            for each in errors:
                _cut(rest, each["loc"], whole=each["type"] == "missing")


def is_secret(name: str) -> bool:
    """Whether a key of this name holds a secret, whose value must never be shown."""
    return _SECRET.search(name) is not None


def _cut(data: dict[str, Any], key: Key, whole: bool) -> None:
    """Take the key out; where that would break its list or table, the whole list or the whole named table."""
    end = len(key)
    if whole or key[-2:-1] == ("steps",):
        end = min(end - 1, _NAMED.get(str(key[0]), 1))
    elif isinstance(key[-1], int):
        end -= 1
    inner: Any = data
    for part in key[: end - 1]:
        if isinstance(inner, dict) and part not in inner:
            return  # went with a table that is gone already
        inner = inner[part]
    inner.pop(key[end - 1], None)


def _problem(error: ErrorDetails) -> Problem:
    key, kind, context = error["loc"], error["type"], error.get("ctx", {})
    name, value = str(key[-1]), error["input"]
    if kind == "extra_forbidden":
        return Problem(key, unknown("key", name, _known(key)))
    if kind == "missing":
        return Problem(key, f"is required; add {name} = …")
    if kind == "value_error":
        return Problem(key, str(context["error"]))
    shown = "" if is_secret(name) else f", not {_shown(value)}"
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return Problem(key, f"must be {word} {context[bound]:g}{shown}")
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        mend = suggest(value, words) if isinstance(value, str) and not is_secret(name) else ""
        return Problem(key, f"takes one of {', '.join(words)}{shown}{mend if 'did you mean' in mend else ''}")
    return Problem(key, f"{_TAKES.get(kind, error['msg'])}{shown}")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    text = quoted(value, "'") if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _known(key: Key) -> list[str]:
    """The keys that the table around `key` takes."""
    schema = Config.model_json_schema()
    node = schema
    for part in key[:-1]:
        node = _inside(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
    return list(_inside(schema, node).get("properties", {}))


def _inside(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """A node of the JSON schema with `| None` and references followed."""
    for choice in node.get("anyOf", ()):
        if choice.get("type") != "null":
            node = choice
    reference = node.get("$ref")
    found: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]] if reference else node
    return found
