"""The pages say all there is: every setting, command, option, JSON key, event, audit entry, error and state."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import typer.main
from msgspec.structs import fields
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from pages import PAGES, ROOT, anchor, codes, page, rows, sections
from revops_lite import errors, models
from revops_lite.cli import shapes
from revops_lite.cli.app import COMMANDS as LISTED
from revops_lite.cli.app import app
from revops_lite.config import seconds
from revops_lite.config.tables import Config
from revops_lite.engine.decide import HANDLERS
from revops_lite.models.noun import Noun

# ---- settings ----------------------------------------------------------------------------------------------------

NAMED = {  # tables with names of the user's choice
    "notify.channels": "notify.channels.NAME",
    "governance.fields": 'governance.fields."KIND.FIELD"',
    "agents": "agents.NAME",
    "workflows": "workflows.NAME",
}
EMPTY = object()
SECTION = re.compile(r"\[(.+)\]")


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The table behind a type such as `OverTable | None`, `dict[str, AgentTable]` or `tuple[StepTable, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [model for part in get_args(annotation) if (model := model_in(part))]
    return found[0] if found else None


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = model_in(field.annotation)
        if inner is None:
            yield ("review.expires.REASON" if key == "review.expires" else key), field
        else:
            listed = (
                "[]" if tuple in (get_origin(field.annotation), *map(get_origin, get_args(field.annotation))) else ""
            )
            yield from settings(inner, f"{NAMED.get(key, key)}{listed}.")


SETTINGS = dict(settings(Config))


def documented() -> dict[str, str]:
    """key -> its default, as configuration.md has it."""
    found = {}
    for heading, body in sections(page("docs/configuration.md")).items():
        section = SECTION.fullmatch(heading)
        for cells in rows(body):
            found[(f"{section[1]}." if section else "") + cells[0].strip("`")] = cells[2]
    return found


def default_of(field: FieldInfo) -> Any:
    value = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
    return str(value) if isinstance(value, Path) else value


def plain(cell: str) -> Any:
    """The default behind a cell of the table."""
    named = {"none": None, "empty": EMPTY}
    return named[cell] if cell in named else tomllib.loads(f"x = {cell.strip('`')}")["x"]


def same_default(found: Any, said: Any) -> bool:
    if said is EMPTY:
        return found in ((), {})
    if isinstance(found, float) and isinstance(said, str):
        return seconds(said) == found
    return bool((list(found) if isinstance(found, tuple) else found) == said)


def test_every_setting_stands_in_its_page_and_nothing_else() -> None:
    assert set(documented()) == set(SETTINGS)


@pytest.mark.parametrize("key", SETTINGS)
def test_the_default_that_a_page_names_is_the_one(key: str) -> None:
    said, field = documented()[key], SETTINGS[key]
    if key == "timezone":  # its default says "not given", which is refused
        assert said == "required"
    elif key == "review.expires.REASON":
        assert (said, default_of(field)) == ("none", {})
    elif field.is_required():
        assert said == "required"
    else:
        assert same_default(default_of(field), plain(said)), (default_of(field), said)


# ---- commands ----------------------------------------------------------------------------------------------------


def commands(command: Any, name: str = "revops") -> Iterator[tuple[str, Any]]:
    """Name and command of every leaf; typer brings its own copy of click, so what it is shows by what it has."""
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from commands(inner, f"{name} {word}")
    else:
        yield name, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_list_of_commands_says_how_their_own_help_begins() -> None:
    group: Any = typer.main.get_command(app)
    for name, (_, _, told) in LISTED.items():
        assert TyperCommand(name, help=told).get_short_help_str(70) == group.commands[name].get_short_help_str(70)


def test_every_command_has_its_section_and_every_section_its_command() -> None:
    groups = {name.rpartition(" ")[0] for name in COMMANDS}
    told = {heading for heading in sections(page("docs/commands.md")) if heading.startswith("revops ")}
    assert told - groups == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_usage_of_a_command_has_all_its_options_and_no_other(name: str) -> None:
    usage = re.findall(r"```\n(.*?)```", sections(page("docs/commands.md"))[name], re.DOTALL)[0]
    assert all(line.startswith(name) for line in usage.splitlines())
    told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", usage)) - {"-n", "-o"}
    words = {word for param in COMMANDS[name].params for word in (*param.opts, *param.secondary_opts)}
    there = {word for word in words if word.startswith("--")}
    assert told == there


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_each_of_its_options_says_what_it_is_for(name: str) -> None:
    assert COMMANDS[name].help
    silent = [p.opts for p in COMMANDS[name].params if p.param_type_name == "option" and not getattr(p, "help", None)]
    assert silent == []


def test_the_readme_names_only_options_that_are_there() -> None:
    for line in re.findall(r"^ *revops (.+)$", page("README.md"), re.MULTILINE):
        words = line.split(" #")[0].split()
        name = next(n for n in (f"revops {' '.join(words[:2])}", f"revops {words[0]}") if n in COMMANDS)
        known = {word for param in COMMANDS[name].params for word in (*param.opts, *param.secondary_opts)}
        assert {word for word in words if re.fullmatch(r"--[a-z-]+", word)} <= known, line


# ---- JSON --------------------------------------------------------------------------------------------------------


def example(kind: Any) -> Any:
    """Any value of a type, made of its first fields' types: enough to see which keys a shape has."""
    if isinstance(kind, type) and issubclass(kind, Noun):
        hints = get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name]) for field in fields(kind) if field.required})
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind))
    simple = {str: "x", int: 1, float: 1.0, bool: False, dict: {}, tuple: (), NoneType: None}
    return simple.get(get_origin(kind) or kind)


SHAPES = {
    "run": lambda: shapes.run(example(models.Run), [], [], 2.0),
    "step": lambda: shapes.step(example(models.Step)),
    "write": lambda: shapes.write(example(models.Write)),
    "review": lambda: shapes.review(example(models.Review)),
    "record": lambda: shapes.record(example(models.Context), [], history=True),
    "hold": lambda: shapes.hold(example(models.Hold)),
    "breaker": lambda: shapes.breaker(example(models.Breaker)),
    "audit entry": lambda: dict.fromkeys(models.AuditEntry.__struct_fields__),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_key_that_other_programs_read_is_told(shape: str) -> None:
    told = [cells[0].strip("`") for cells in rows(sections(page("docs/commands.md"))[shape])]
    assert told == list(SHAPES[shape]())


# ---- events, audit entries, errors, words ------------------------------------------------------------------------


def test_every_event_type_that_the_program_sends_or_takes_is_told() -> None:
    assert set(HANDLERS) - codes(page("docs/events.md")) == set()
    assert {"<kind>.created", "<kind>.updated", "<agent>.complete"} <= codes(page("docs/events.md"))


def audited() -> Iterator[str]:
    """The words behind `.audit(...)` in the engine; `*` for what is only known when it runs."""
    for path in sorted((ROOT / "revops_lite" / "engine").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "audit" and node.args:
                for part in alternatives(node.args[0]):
                    yield "".join(
                        str(piece.value) if isinstance(piece, ast.Constant) else "*"
                        for piece in (part.values if isinstance(part, ast.JoinedStr) else [part])
                    )


def alternatives(node: ast.expr) -> list[ast.expr]:
    return [*alternatives(node.body), *alternatives(node.orelse)] if isinstance(node, ast.IfExp) else [node]


def test_every_audit_entry_is_told() -> None:
    told = codes(sections(page("docs/events.md"))["Audit entries"])
    words = set(audited())
    assert "write.allowed" in words
    assert {word for word in words if not any(re.fullmatch(word.replace("*", r"\w+"), each) for each in told)} == set()


ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.RevopsError)]


def test_every_error_is_told_with_its_exit_code() -> None:
    told = {cells[0].strip("`"): cells[1] for cells in rows(page("docs/errors.md"))}
    assert told == {each.__name__: str(each.exit_code) for each in ERRORS}


def test_every_exit_code_is_told() -> None:
    told = {cells[0] for cells in rows(sections(page("docs/commands.md"))["Commands"])}
    assert {str(each.exit_code) for each in ERRORS} <= told


@pytest.mark.parametrize(
    "states", [each for each in vars(models).values() if isinstance(each, type) and issubclass(each, StrEnum)]
)
def test_every_state_reason_and_mode_is_in_the_glossary(states: type[StrEnum]) -> None:
    assert {str(each) for each in states} - codes(page("docs/glossary.md")) == set()


NOUNS = (models.Run, models.Step, models.Event, models.Write, models.Intent, models.Review, models.Breaker, models.Hold)


def test_the_glossary_explains_each_word_once() -> None:
    sections_ = sections(page("docs/glossary.md"))
    words = [cells[0] for heading in list(sections_)[:6] for cells in rows(sections_[heading])]
    assert len(words) > 60
    assert sorted(words) == sorted(set(words))
    assert {noun.__name__.lower() for noun in NOUNS} <= set(words)


# ---- all pages ---------------------------------------------------------------------------------------------------

FORBIDDEN = (
    r"\b(?:this|that|each|next|last|earlier|previous|another) session\b",
    r"(?<![\w&/])#\d+\b",
    r"(?<![\w.])/(?:work|tmp|root|home|Users)/",
    r"pypi\.org|pythonhosted|npmjs|registry\.npm|crates\.io",
    r"\b(?:TODO|FIXME|XXX|TBD)\b",
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_speaks_of_the_program_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [found[0] for pattern in FORBIDDEN for found in re.finditer(pattern, text, re.IGNORECASE)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, part = target.partition("#")
        if re.match(r"[a-z]+:", file):
            continue
        there = (path.parent / file) if file else path
        assert there.exists(), target
        if part:
            assert part in map(anchor, sections(there.read_text(encoding="utf-8"))), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_file_that_a_page_names_is_there(path: Path) -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|lua))`", path.read_text(encoding="utf-8")))
    if path.name != "design.md":
        named = {name for name in named if name.startswith(("revops_lite/", "tests/"))}
    places = (ROOT, ROOT / "revops_lite")
    assert {name for name in named if not any((place / name).exists() for place in places)} == set()


def test_what_the_page_on_security_names_is_there() -> None:
    text = page("SECURITY.md")
    assert len(text.splitlines()) <= 120
    named = set(re.findall(r"`((?:tests|revops_lite)/[\w/.]+)`", text))
    assert len(named) > 15
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert "](SECURITY.md)" in page("README.md")


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+)", page("README.md")))
    assert {f"docs/{path.name}" for path in PAGES if path.parent.name == "docs"} - linked == set()
