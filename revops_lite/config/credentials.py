"""Secrets by reference: "env:NAME" or "file:PATH". The secret itself never stands in the configuration."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from revops_lite.errors import CredentialError

_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:\S.*")
_LIMIT = 65_536  # bytes; a longer file is no secret but a mistake


def is_reference(text: str) -> bool:
    """Whether `text` names a secret ("env:NAME", "file:PATH") instead of being one."""
    return _REFERENCE.fullmatch(text) is not None


def secret(reference: str, root: Path) -> str:
    """The secret behind "env:NAME" or "file:PATH" (relative to `root`, mode 0600 or stricter; the last newline is cut).

    Raises CredentialError that names the variable or file and the mend, and never the secret.
    """
    if not is_reference(reference):
        raise CredentialError("a secret stands in the configuration; write env:NAME or file:PATH in its place")
    source, _, name = reference.partition(":")
    found = _from_environment(name) if source == "env" else _from_file(root / Path(name).expanduser())
    if not found.strip():
        raise CredentialError(f"{reference}: it is empty; put the secret there")
    return found


def _from_environment(name: str) -> str:
    found = os.environ.get(name)
    if found is None:
        raise CredentialError(f"env:{name}: the variable is not set; export {name}=… before starting revops")
    return found


def _from_file(path: Path) -> str:
    try:
        with open(path, "rb", opener=_without_blocking) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise CredentialError(f"file:{path}: not a plain file; name a file that holds the secret")
            if about.st_mode & 0o077:
                mode = stat.S_IMODE(about.st_mode)
                raise CredentialError(f"file:{path}: others may read it (mode {mode:04o}); run: chmod 600 {path}")
            content = file.read(_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CredentialError(f"file:{path}: cannot be read ({reason}); make it with mode 0600") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise CredentialError(f"file:{path}: not UTF-8 text; store the secret as text") from error
    if len(content) > _LIMIT:
        raise CredentialError(f"file:{path}: longer than {_LIMIT} bytes; name a file that holds only the secret")
    return text.removesuffix("\n").removesuffix("\r")


def _without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a named pipe must not hang the start
