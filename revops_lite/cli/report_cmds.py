"""What `revops report` does: the pages in var/reports, found and shown. Neither Redis nor the CRM is needed."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

from msgspec import Struct

from revops_lite import config
from revops_lite.errors import NotFound, RevopsError, UsageError
from revops_lite.times import stamp

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
SHOWN = 5  # names in a message


class Page(Struct, frozen=True):
    path: Path
    size: int  # bytes
    at: float  # last written

    @property
    def name(self) -> str:
        return self.path.stem


def folder(path: Path) -> Path:
    """Where the installation's reports are. Raises what loading a configuration raises."""
    return config.load(path, agents=False).root / "var" / "reports"


def newest(where: Path, limit: int | None = None) -> list[Page]:
    """The pages there, newest first; none where there is no such folder. Raises RevopsError where it is not ours."""
    found = []
    try:
        for path in where.glob("[!.]*.html"):
            if path.is_file():
                about = path.stat()
                found.append(Page(path, about.st_size, about.st_mtime))
    except OSError as error:
        raise RevopsError(f"{where}: cannot be read: {error.strerror}") from error
    return sorted(found, key=lambda page: (-page.at, page.name))[:limit]


def named(where: Path, name: str | None) -> Path:
    """The page of that name (with or without ".html", or the beginning of only one), the newest without one.

    Raises NotFound, or UsageError where the beginning fits several.
    """
    pages = newest(where)
    if name is None:
        if not pages:
            raise NotFound(f"there is no report in {where} yet; a workflow with the step roll_up makes one")
        return pages[0].path
    stem = name.removesuffix(".html")
    fit = [page for page in pages if page.name == stem] or [page for page in pages if page.name.startswith(stem)]
    if not fit:
        raise NotFound(f"there is no report {name!r} in {where}; `revops report list` shows those there are")
    if len(fit) > 1:
        some = ", ".join(page.name for page in fit[:SHOWN]) + (", …" if len(fit) > SHOWN else "")
        raise UsageError(f"{name!r} may be any of {len(fit)} reports: {some}; type more of the name")
    return fit[0].path


def browse(path: Path) -> bool:
    """Hand the page to a browser with a window of its own; whether there was one."""
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in DISPLAYS):
        return False  # the browsers that are left would take over the terminal
    try:
        return webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


def shape(page: Page) -> dict[str, Any]:
    return {"name": page.name, "path": str(page.path), "size": page.size, "at": stamp(page.at)}
