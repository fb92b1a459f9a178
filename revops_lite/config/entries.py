"""The agents' own files: which folder they are imported from, and what each may write."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from revops_lite.config.problems import Problem
from revops_lite.config.tables import AgentTable
from revops_lite.errors import AgentError
from revops_lite.registry import AgentSpec, load

_ENTRY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_roots: list[str] = []  # folders put on sys.path for configurations, the latest last


def load_agents(agents: Mapping[str, AgentTable], root: Path) -> tuple[dict[str, AgentSpec], list[Problem]]:
    """Every agent that imports, by name, and a problem for each that does not. `root` goes first on sys.path."""
    import_from(root, [table.entry for table in agents.values()])
    found: dict[str, AgentSpec] = {}
    problems: list[Problem] = []
    for name, table in agents.items():
        try:
            found[name] = _load(table.entry)
        except AgentError as error:
            problems.append(Problem(("agents", name, "entry"), str(error)))
    return found, problems


def _load(entry: str) -> AgentSpec:
    if not _ENTRY.fullmatch(entry):
        raise AgentError('takes "package.module:function", for example "agents.enrichment:enrich"')
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the command's own data
            return load(entry)
    except SystemExit as error:
        raise AgentError(f"{entry}: the module ends the program when it is imported") from error


def import_from(root: Path, entries: Iterable[str]) -> None:
    """Let `entries` ("agents.scoring:score") be imported from `root`, whatever else is installed under their names.

    `root` goes first on sys.path in place of the last configuration's, and what that one has imported is forgotten.
    """
    if _roots and _roots[-1] in sys.path:
        sys.path.remove(_roots[-1])
    stale = [Path(old) for old in _roots if old != str(root)]
    _roots[:] = [*map(str, stale), str(root)]
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    for package in {entry.partition(":")[0].partition(".")[0] for entry in entries} - {"", "revops_lite"}:
        folder = root / package
        _forget(package, root, stale if not (folder.is_dir() or (root / f"{package}.py").is_file()) else None)
        if folder.is_dir() and not (folder / "__init__.py").is_file() and package not in sys.modules:
            # A folder without __init__.py would lose against any package of its name that is installed anywhere.
            spec = ModuleSpec(package, None, is_package=True)
            spec.submodule_search_locations = [str(folder)]
            sys.modules[package] = module_from_spec(spec)


def _forget(package: str, root: Path, only_from: list[Path] | None) -> None:
    """Drop what is imported of a package from outside `root` (from `only_from`, where given)."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            places = _places(module)
            if any(_within(each, root) for each in places):
                continue
            if only_from is None or any(_within(each, old) for each in places for old in only_from):
                del sys.modules[name]


def _places(module: ModuleType) -> list[Path]:
    file = getattr(module, "__file__", None)
    return [Path(file)] if file else [Path(each) for each in getattr(module, "__path__", ())]


def _within(place: Path, folder: Path) -> bool:
    return place.is_relative_to(folder) or place.resolve().is_relative_to(folder.resolve())
