"""The agents' own files: which folder they are imported from, and what each may write."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Mapping
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
    _import_from(root, {table.entry.partition(":")[0].partition(".")[0] for table in agents.values()})
    found: dict[str, AgentSpec] = {}
    problems: list[Problem] = []
    for name, table in agents.items():
        try:
            found[name] = _load(table.entry, root)
        except AgentError as error:
            problems.append(Problem(("agents", name, "entry"), str(error)))
    return found, problems


def _load(entry: str, root: Path) -> AgentSpec:
    if not _ENTRY.fullmatch(entry):
        raise AgentError('takes "package.module:function", for example "agents.enrichment:enrich"')
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the command's own data
            spec = load(entry)
    except SystemExit as error:
        raise AgentError(f"{entry}: the module ends the program when it is imported") from error
    module_name = entry.partition(":")[0]
    places = _places(sys.modules[module_name])
    if (root / module_name.partition(".")[0]).is_dir() and places and not any(_within(each, root) for each in places):
        # Folders of one name merge when none has an __init__.py: never run another installation's file unnoticed.
        raise AgentError(f"{entry}: {places[0]} lies outside the configuration's folder {root}; put the file there")
    return spec


def _import_from(root: Path, packages: set[str]) -> None:
    """Put `root` first on sys.path in place of the last configuration's, and forget what that one has imported."""
    if _roots and _roots[-1] in sys.path:
        sys.path.remove(_roots[-1])
    stale = [Path(old) for old in _roots if old != str(root)]
    _roots[:] = [*map(str, stale), str(root)]
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    for package in packages - {"revops_lite"}:
        has_own = (root / package).is_dir() or (root / f"{package}.py").is_file()
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] != package or any(_within(each, root) for each in _places(module)):
                continue
            if has_own or any(_within(each, old) for each in _places(module) for old in stale):
                del sys.modules[name]


def _places(module: ModuleType) -> list[Path]:
    file = getattr(module, "__file__", None)
    return [Path(file)] if file else [Path(each) for each in getattr(module, "__path__", ())]


def _within(place: Path, folder: Path) -> bool:
    return place.is_relative_to(folder) or place.resolve().is_relative_to(folder.resolve())
