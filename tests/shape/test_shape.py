"""The shape of the code: what imports what, what stands where, how long it may be. These limits are the house's."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "revops_lite"
MODULES = sorted(PACKAGE.rglob("*.py"))
AGENTS = sorted((ROOT / "agents").glob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 50
AGENT_LINES = 150
IGNORES_PER_1000_LINES = 2

ONLY_THERE = {"redis": ("store", "queue"), "rq": ("queue",), "rq_scheduler": ("queue",)}
VALUABLE = ("redis", "rq", "typer", "pydantic", "httpx")
KEY = re.compile(r"^(revops|rq):[^\s]")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def strings(module: ast.Module) -> Iterator[ast.Constant]:
    """Every text in a module except its docstrings."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(module)
        if isinstance(node, holders) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docs:
            yield node


def text(node: ast.Constant) -> str:
    return node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)


def imported(module: ast.Module) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def deferred(module: ast.Module) -> list[int]:
    """Lines of imports inside functions."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    imports = (ast.Import, ast.ImportFrom)
    return [node.lineno for function in functions for node in ast.walk(function) if isinstance(node, imports)]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, revops_lite; print([m for m in {VALUABLE!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ONLY_THERE)
def test_redis_and_rq_are_imported_only_where_they_belong(package: str) -> None:
    allowed = [PACKAGE / folder for folder in ONLY_THERE[package]]
    elsewhere = [path for path in MODULES if not any(path.is_relative_to(folder) for folder in allowed)]
    assert [name(path) for path in elsewhere if package in imported(tree(path))] == []


def test_imports_stand_at_the_top() -> None:
    # The command line may defer them, to start fast; the package's own face does, to stay light.
    strict = [path for path in MODULES if not path.is_relative_to(PACKAGE / "cli") and path != PACKAGE / "__init__.py"]
    assert [f"{name(path)}:{line}" for path in strict for line in deferred(tree(path))] == []


def test_lua_stands_in_lua_files() -> None:
    lua = re.compile(r"redis\.p?call\(")
    found = [
        f"{name(path)}:{node.lineno}" for path in MODULES for node in strings(tree(path)) if lua.search(text(node))
    ]
    assert found == []


def test_every_script_has_a_header_that_tells_what_it_takes_and_returns() -> None:
    scripts = sorted(PACKAGE.rglob("*.lua"))
    assert scripts
    for path in scripts:
        header = re.match(r"(?:\s*--[^\n]*\n)+", path.read_text(encoding="utf-8"))
        assert header is not None, name(path)
        missing = [word for word in ("KEYS", "ARGV", "eturns") if word not in header[0]]
        assert missing == [], name(path)


def test_keys_are_spelled_in_one_module() -> None:
    others = [path for path in MODULES if path != PACKAGE / "store" / "keys.py"]
    found = [f"{name(path)}:{node.lineno}" for path in others for node in strings(tree(path)) if KEY.match(text(node))]
    assert found == []


def test_there_are_agents() -> None:
    assert len(AGENTS) > 1


@pytest.mark.parametrize("path", AGENTS, ids=name)
def test_an_agent_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= AGENT_LINES


@pytest.mark.parametrize("path", AGENTS, ids=name)
def test_an_agent_imports_the_public_face_only(path: Path) -> None:
    inner = [
        node.module
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("revops_lite.")
    ]
    assert inner == []
    assert imported(tree(path)) & {"redis", "rq", "sqlalchemy"} == set()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_function_can_be_read_without_scrolling(path: Path) -> None:
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno}
    assert {function: lines for function, lines in long.items() if lines > FUNCTION_LINES} == {}


def test_nothing_is_async_but_the_place_that_calls_async_agents() -> None:
    others = [path for path in MODULES if path != PACKAGE / "host" / "call.py"]
    found = [name(path) for path in others for node in ast.walk(tree(path)) if isinstance(node, ast.AsyncFunctionDef)]
    assert found == []


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [
        name(path) for path in MODULES if path.stem in {"utils", "util", "common", "helpers", "manager", "misc"}
    ] == []


def test_checks_are_rarely_silenced() -> None:
    lines = [line for path in MODULES for line in path.read_text(encoding="utf-8").splitlines()]
    silenced = [line for line in lines if re.search(r"#\s*(noqa|type:\s*ignore)", line)]
    assert len(silenced) * 1000 <= len(lines) * IGNORES_PER_1000_LINES


def test_every_error_is_under_one_and_its_docstring_is_its_message() -> None:
    classes = [node for node in tree(PACKAGE / "errors.py").body if isinstance(node, ast.ClassDef)]
    known = {"Exception"}
    for node in classes:
        assert ast.get_docstring(node), node.name
        assert next(base.id for base in node.bases if isinstance(base, ast.Name)) in known, node.name
        known = (known - {"Exception"}) | {node.name}
