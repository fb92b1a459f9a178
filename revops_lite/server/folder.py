"""Where the embedded server keeps its data and its socket: folders that nobody else may enter."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from revops_lite.errors import ServerError

LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is 108 (Linux) or 104 (macOS), and the server cuts silently


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What the disk refuses is a ServerError with the mend: nothing can be kept there now."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ServerError(f"{folder}: {error.strerror}. Mend: make room on this disk, then try again") from error
        raise ServerError(f"{folder} cannot be used for the embedded Redis: {error.strerror}") from error


def private_folder(folder: Path) -> Path:
    """Make a folder that only we can enter (0700). Raises ServerError when it is somebody else's or a link."""
    with disk_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not folder.is_dir() or folder.is_symlink():
            raise ServerError(f"{folder} is no folder; move it out of the way")
        if found.st_uid != os.geteuid():
            raise ServerError(f"{folder} belongs to user id {found.st_uid}; run as that user, or change its owner")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    return folder


def socket_path(folder: Path) -> Path:
    """The socket's path: in the folder, or in a short private one where that path is too long for the system."""
    inside = folder / "redis.sock"
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    name = f"revops-lite-{os.geteuid()}-{blake2b(os.fsencode(folder), digest_size=8).hexdigest()}"
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")
    base = runtime if runtime.is_dir() and len(os.fsencode(runtime)) < LONGEST_SOCKET_PATH - 64 else Path("/tmp")
    return private_folder(base / name) / "redis.sock"


def socket_url(path: Path) -> str:
    """The address of a socket, as clients read it: a path may hold spaces, % or ?."""
    return f"unix://{quote(os.fsencode(path))}"
