"""What a channel's settings hold, with an error that names the key where they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from revops_lite.errors import ConfigError

Secret = Callable[[str], str]  # resolves "env:NAME" and "file:PATH"
T = TypeVar("T")


def needed(value: T | None, name: str, key: str, what: str) -> T:
    """The value of a channel's key. Raises ConfigError where there is none; `what` it should be."""
    if value is None or value == "":
        raise wrong(name, key, f"is missing: {what}")
    return value


def resolved(given: str | None, secret: Secret) -> str | None:
    """What is written, or what the "env:NAME" or "file:PATH" that is written leads to."""
    return secret(given).strip() if given and given.startswith(("env:", "file:")) else given


def secret_of(reference: str, name: str, key: str, secret: Secret) -> str:
    """What a reference leads to. Raises ConfigError for what is no reference, or leads to nothing that can be sent."""
    found = resolved(reference, secret)
    if found is None or found is reference:
        raise wrong(name, key, 'is a secret: write "env:NAME" or "file:PATH" in its place')
    if not found or not found.isprintable() or not found.isascii():
        raise wrong(name, key, f"{reference} holds nothing that can be a secret; one line of plain letters is wanted")
    return found


def wrong(name: str, key: str, what: str) -> ConfigError:
    """To be raised: names the channel's key, never its value, which may be a secret."""
    return ConfigError(f"notify.channels.{name}.{key}: {what}")
