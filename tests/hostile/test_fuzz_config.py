"""The starter's config.toml and the large example, damaged byte by byte and part by part: it loads, or it is refused
with file, line, key and what is wrong; there is no third way."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzed import Fuzz
from revops_lite.config import load
from revops_lite.errors import ConfigError

BYTES = Fuzz("config, byte by byte", 100)
PARTS = Fuzz("config, part by part", 150)
REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = [(REPOSITORY / name).read_bytes() for name in ("config.toml", "tests/config/example.toml")]
TABLES = [tomllib.loads(source.decode()) for source in SOURCES]
SAID = re.compile(r"(:(?P<line>\d+))?: (?P<what>.{8,})", re.DOTALL)
BAD_BYTES = st.sampled_from(
    [b"\x00", b"\xff\xfe", b"\r", b"\x1b[2J", b'"', b"'''", b"[", b"]]", b"=", b".", b"\n[redis]\n"]
)
SPLICES = BAD_BYTES | st.binary(max_size=4)
HUGE = 10**4_000
PARTS_OF_TOML: list[Any] = [
    True, -1, 0, 1, HUGE, 1.5, float("nan"), float("inf"), -0.0, "", "x", "auto", "5m", "-5m", "9" * 400 + "d", "env:X",
    "file:x", "lead.created", "\x00\x1b[31m\u202e", "a" * 5_000, "../../etc/passwd", "os:system", "{{7*7}}", "%s%n",
    [], [[]], ["a", 1], {}, {"a": {}}, [{}], [{"agent": "enrichment"}], date(1, 1, 1), time(0, 0),
]  # fmt: skip


def test_both_sources_are_sound(tmp_path: Path) -> None:
    for number, source in enumerate(SOURCES):
        assert tried(tmp_path, source) == "accepted", number


def tried(folder: Path, text: bytes) -> str:
    """`accepted`, or `refused` in lines that each name the file and, where there is one, the line."""
    path, plan = folder / "config.toml", folder / "agents" / "data" / "comp_plan.toml"
    path.write_bytes(text)
    if not plan.exists():
        plan.parent.mkdir(parents=True)
        shutil.copy(REPOSITORY / "agents" / "data" / plan.name, plan)
    try:
        load(path, agents=False)
    except ConfigError as error:
        lines = text.count(b"\n") + 1
        for each in str(error).split("\n"):
            if each.startswith(str(path)):
                said = SAID.fullmatch(each.removeprefix(str(path)))
                assert said, each
                assert said["line"] is None or 1 <= int(said["line"]) <= lines
            else:  # the pay plan, a file of its own
                assert "correct governance.pay.plan in config.toml" in each or "comp_plan.toml" in each
            assert each.isprintable()
            assert len(each) < 8_000
        return "refused"
    return "accepted"


@BYTES
@given(
    source=st.sampled_from(SOURCES),
    splices=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 12), SPLICES), min_size=1, max_size=4),
    cut=st.none() | st.integers(0, 20_000),
)
def test_damaged_bytes(
    tmp_path_factory: pytest.TempPathFactory, source: bytes, splices: list[tuple[int, int, bytes]], cut: int | None
) -> None:
    for at, gone, put in splices:
        at %= len(source)
        source = source[:at] + put + source[at + gone :]
    if cut is not None:
        source = source[: cut % len(source)]
    BYTES.fired(tried(folder(tmp_path_factory), source))


def folder(made: pytest.TempPathFactory) -> Path:
    base = made.getbasetemp() / "damaged"
    base.mkdir(exist_ok=True)
    return base


# ---- part by part ------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for name, part in inner for found in places(part, (*path, name)))]


def changed(value: Any, path: tuple[Any, ...], how: str, part: Any) -> Any:
    """A copy with the part at `path` replaced, taken out, given another name, or with a sister beside it."""
    inner: Any = dict(value) if isinstance(value, dict) else list(value)
    name, *rest = path
    if rest:
        inner[name] = changed(inner[name], tuple(rest), how, part)
    elif how == "replace":
        inner[name] = part
    elif how == "remove":
        del inner[name]
    elif isinstance(inner, dict):
        inner[f"{name}x" if how == "rename" else "ünknown key"] = inner.pop(name) if how == "rename" else part
    else:
        inner.append(part)
    return inner


def written(value: Any) -> str:
    """TOML of any value."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(name)} = {written(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case bool():
            return str(value).lower()
        case int():
            return hex(value) if value > 2**63 else str(value)  # Python refuses to spell it out
        case float() | date() | time():
            return str(value)
    raise TypeError(value)


def test_the_writer_of_this_test_says_what_it_means() -> None:
    for table in TABLES:
        assert tomllib.loads(document(table)) == table


def document(table: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(name)} = {written(part)}\n" for name, part in table.items())


@PARTS
@given(
    table=st.sampled_from(TABLES),
    changes=st.lists(
        st.tuples(
            st.integers(0, 2_000),
            st.sampled_from(["replace", "replace", "replace", "remove", "rename", "add"]),
            st.sampled_from(PARTS_OF_TOML),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_damaged_parts(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any], changes: list[tuple[int, str, Any]]
) -> None:
    for number, how, part in changes:
        if where := places(table)[1:]:
            table = changed(table, where[number % len(where)], how, part)
    PARTS.fired(tried(folder(tmp_path_factory), document(table).encode()))


def test_damages_are_counted() -> None:
    BYTES.told(BYTES.examples, {"refused": 30, "accepted": 3})
    PARTS.told(PARTS.examples, {"refused": 30, "accepted": 3})
