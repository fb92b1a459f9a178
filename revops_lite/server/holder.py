"""Who holds a data folder, as `owner.lock` in it says (`lease.py` writes it)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from msgspec import Struct


class Holder(Struct, frozen=True):
    """Who holds a folder, as written into `owner.lock`."""

    role: str
    pid: int
    socket: Path


def read_holder(folder: Path) -> Holder | None:
    """Who wrote itself into `owner.lock` last; None while that is being written, or where nobody has."""
    try:
        said = json.loads((folder / "owner.lock").read_text())
        return Holder(str(said["role"]), int(said["pid"]), Path(said["socket"]))
    except (ValueError, KeyError, TypeError, OSError):
        return None


def holder_of(folder: Path) -> Holder | None:
    """Who holds the folder now; None for what a killed owner left behind (the next one is about to write)."""
    holder = read_holder(folder)
    if holder is None:
        return None
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives, as another user
    return holder
