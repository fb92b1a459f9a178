"""From `[notify.channels.*]` to channels that can send. Secrets are read here, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO, TypeVar

import httpx

from revops_lite.clean import clean
from revops_lite.config import ChannelSettings
from revops_lite.errors import ConfigError
from revops_lite.notify.console import ConsoleChannel
from revops_lite.notify.email import EmailChannel, Mailbox
from revops_lite.notify.file import FileChannel
from revops_lite.notify.report import ADDRESS, ReportChannel
from revops_lite.notify.slack import API, SlackBot, SlackWebhook
from revops_lite.notify.webhook import WebhookChannel
from revops_lite.ports import Channel

Secret = Callable[[str], str]
T = TypeVar("T")
PORTS = {"starttls": 587, "ssl": 465, "none": 25}


def open_channels(
    settings: Mapping[str, ChannelSettings], secret: Secret, stream: TextIO | None = None, reports: Path | None = None
) -> dict[str, Channel]:
    """Every configured channel by its name, and under "report:" the folder `reports` where one is given.

    Mails take the reports that belong to them from there. `secret` resolves "env:NAME" and "file:PATH"; `stream` is
    the console's (None: stderr). Nothing is sent or connected here. Raises ConfigError (CredentialError from
    `secret`) naming the key.
    """
    channels = {name: _open(name, one, secret, stream, reports) for name, one in settings.items()}
    if reports is not None:
        channels[ADDRESS] = ReportChannel(reports)
    return channels


def _open(name: str, settings: ChannelSettings, secret: Secret, stream: TextIO | None, reports: Path | None) -> Channel:
    match settings.kind:
        case "console":
            return ConsoleChannel(name, stream)
        case "file":
            return FileChannel(name, _needed(settings.path, name, "path", "the file to append to"))
        case "slack":
            return _slack(name, settings, secret)
        case "webhook":
            url = _address(_value(settings.url, secret), name, "url", anywhere=True)
            token = _secret(settings.token, name, "token", secret) if settings.token else None
            return WebhookChannel(name, url, token, settings.allow_private)
        case "email":
            return EmailChannel(name, _mailbox(name, settings, secret), reports)


def _slack(name: str, settings: ChannelSettings, secret: Secret) -> Channel:
    if settings.token:
        token = _secret(settings.token, name, "token", secret)
        channel = _needed(settings.channel, name, "channel", 'the Slack channel the bot posts to, such as "#sales"')
        return SlackBot(name, token, channel, _address(settings.base_url or API, name, "base_url"))
    reference = _needed(settings.url, name, "url", "the incoming webhook (or `token` and `channel`)")
    return SlackWebhook(name, _address(_secret(reference, name, "url", secret), name, "url"))


def _mailbox(name: str, settings: ChannelSettings, secret: Secret) -> Mailbox:
    host = _needed(settings.host, name, "host", "the SMTP server")
    if settings.tls == "none" and settings.password and not _loopback(host):
        raise _wrong(name, "tls", '"none" would send the password unencrypted: use "starttls" or "ssl"')
    return Mailbox(
        host=host,
        sender=_mail_address(settings.sender, name, "from"),
        to=[_mail_address(one, name, "to") for one in settings.to or ("",)],
        port=settings.port or PORTS[settings.tls],
        tls=settings.tls,
        username=_value(settings.username, secret),
        password=_secret(settings.password, name, "password", secret) if settings.password else None,
    )


def _needed(value: T | None, name: str, key: str, what: str) -> T:
    if value is None or value == "":
        raise _wrong(name, key, f"is missing: {what}")
    return value


def _value(given: str | None, secret: Secret) -> str | None:
    return secret(given).strip() if given and given.startswith(("env:", "file:")) else given


def _secret(reference: str, name: str, key: str, secret: Secret) -> str:
    found = _value(reference, secret)
    if found is None or found is reference:
        raise _wrong(name, key, 'is a secret: write "env:NAME" or "file:PATH" in its place')
    if not found or not found.isprintable() or not found.isascii():
        raise _wrong(name, key, f"{reference} holds nothing that can be a secret; one line of plain letters is wanted")
    return found


def _mail_address(given: str | None, name: str, key: str) -> str:
    address = _needed(given, name, key, "an e-mail address")
    if "@" not in address or any(character in address for character in " ,;<>") or clean(address) != address:
        raise _wrong(name, key, f"{clean(address, limit=100)!r} is not an e-mail address")
    return address


def _address(url: str | None, name: str, key: str, anywhere: bool = False) -> str:
    """A URL that can be posted to. What it is stays unsaid: it may be a secret."""
    try:
        parsed = httpx.URL(_needed(url, name, key, "the address to post to"))
    except httpx.InvalidURL as error:
        raise _wrong(name, key, "is not a URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _wrong(name, key, 'is not a URL that starts with "https://"')
    if parsed.scheme == "http" and not anywhere and not _loopback(parsed.host):
        raise _wrong(name, key, "would send a secret unencrypted: use https")
    return str(parsed)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _wrong(name: str, key: str, what: str) -> ConfigError:
    return ConfigError(f"notify.channels.{name}.{key}: {what}")
