"""What an address may be: of this machine, and of mail."""

from __future__ import annotations

from ipaddress import ip_address


def loopback(host: str) -> bool:
    """Whether what is sent there never leaves this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_mail(text: str) -> bool:
    """One bare address, without a name or a second one."""
    return "@" in text and text.isprintable() and not any(character in text for character in " ,;<>")
