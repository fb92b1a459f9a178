"""What a channel's settings hold, with an error that names the key where they do not."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

from revops_lite.errors import ConfigError

Secret = Callable[[str], str]  # resolves "env:NAME" and "file:PATH"
T = TypeVar("T")


def needed(value: T | None, name: str, key: str, what: str) -> T:
    if value is None or value == "":
        raise wrong(name, key, f"is missing: {what}")
    return value


def resolved(given: str | None, secret: Secret) -> str | None:
    return secret(given).strip() if given and given.startswith(("env:", "file:")) else given


def secret_of(reference: str, name: str, key: str, secret: Secret) -> str:
    found = resolved(reference, secret)
    if found is None or found is reference:
        raise wrong(name, key, 'is a secret: write "env:NAME" or "file:PATH" in its place')
    if not found or not found.isprintable() or not found.isascii():
        raise wrong(name, key, f"{reference} holds nothing that can be a secret; one line of plain letters is wanted")
    return found


def loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def wrong(name: str, key: str, what: str) -> ConfigError:
    return ConfigError(f"notify.channels.{name}.{key}: {what}")
