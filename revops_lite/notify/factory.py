"""From `[notify.channels.*]` to channels that can send. Secrets are read here, once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TextIO

from revops_lite.addresses import is_mail, loopback
from revops_lite.clean import clean
from revops_lite.config import ChannelSettings
from revops_lite.notify.console import ConsoleChannel
from revops_lite.notify.email import EmailChannel, Mailbox
from revops_lite.notify.file import FileChannel
from revops_lite.notify.report import ADDRESS, ReportChannel
from revops_lite.notify.settings import Secret, needed, resolved, secret_of, wrong
from revops_lite.ports import Channel

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
            return FileChannel(name, needed(settings.path, name, "path", "the file to append to"))
        case "slack" | "webhook":
            # By its name: what speaks HTTP takes a tenth of the start of `up`, and most installations do without.
            over_http: Channel = import_module("revops_lite.notify.over_http").open_channel(name, settings, secret)
            return over_http
        case "email":
            return EmailChannel(name, _mailbox(name, settings, secret), reports)


def _mailbox(name: str, settings: ChannelSettings, secret: Secret) -> Mailbox:
    host = needed(settings.host, name, "host", "the SMTP server")
    if settings.tls == "none" and settings.password and not loopback(host):
        raise wrong(name, "tls", '"none" would send the password unencrypted: use "starttls" or "ssl"')
    return Mailbox(
        host=host,
        sender=_mail_address(settings.sender, name, "from"),
        to=[_mail_address(one, name, "to") for one in settings.to or ("",)],
        port=settings.port or PORTS[settings.tls],
        tls=settings.tls,
        username=resolved(settings.username, secret),
        password=secret_of(settings.password, name, "password", secret) if settings.password else None,
    )


def _mail_address(given: str | None, name: str, key: str) -> str:
    address = needed(given, name, key, "an e-mail address")
    if not is_mail(address):
        raise wrong(name, key, f"{clean(address, limit=100)!r} is not an e-mail address")
    return address
