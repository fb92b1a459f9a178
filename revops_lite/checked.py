"""Whether a configuration has been found right before: a command that only reads need not check it once more.

Checking takes a third of such a command's time. `var/config.checked` holds a digest of the file as it was last found
right, with the embedded Redis, by this version of the program; any other file is checked as ever.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from revops_lite import __version__


def remember(config: Path) -> None:
    """It is right. Where that cannot be noted, it is checked again."""
    note = _note(config)
    try:
        mark = _mark(config)
        if not note.exists() or note.read_bytes() != mark:
            draft = note.with_name(f"{note.name}.{os.getpid()}")
            draft.write_bytes(mark)
            draft.replace(note)
    except OSError:
        pass


def remembered(config: Path) -> bool:
    """Whether it is, to the byte, the file that was right."""
    try:
        return _note(config).read_bytes() == _mark(config)
    except OSError:
        return False


def _note(config: Path) -> Path:
    return config.parent / "var" / "config.checked"


def _mark(config: Path) -> bytes:
    return blake2b(config.read_bytes(), digest_size=16, person=__version__.encode()[:16]).hexdigest().encode()
