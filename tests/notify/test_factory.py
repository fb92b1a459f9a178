"""From the configuration to channels: what is made, and what is refused with the key and the mend."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from revops_lite.config import ChannelSettings
from revops_lite.errors import ConfigError, CredentialError
from revops_lite.models import OutNotice
from revops_lite.notify import open_channels
from revops_lite.notify.email import EmailChannel

SECRETS = {
    "env:HOOK": "https://hooks.slack.com/services/canary",
    "env:TOKEN": "canary-token",
    "env:PLAIN": "http://hooks.example/canary",
    "env:NOT_A_URL": "canary",
    "env:TWO_LINES": "canary\nX-Header: 1",
    "env:EMPTY": "",
    "env:LOCAL": "http://127.0.0.1:1/canary",
}


def secret(reference: str) -> str:
    if reference not in SECRETS:
        raise CredentialError(f"{reference}: the variable is not set")
    return SECRETS[reference]


def opened(**settings: Any) -> Any:
    channels = open_channels({"sales": ChannelSettings.model_validate(settings)}, secret)
    channels["sales"].close()
    return channels["sales"]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"kind": "console"}, "ConsoleChannel"),
        ({"kind": "file", "path": "/tmp/notices.jsonl"}, "FileChannel"),
        ({"kind": "slack", "url": "env:HOOK"}, "SlackWebhook"),
        ({"kind": "slack", "url": "env:LOCAL"}, "SlackWebhook"),
        ({"kind": "slack", "token": "env:TOKEN", "channel": "#sales"}, "SlackBot"),
        ({"kind": "webhook", "url": "https://example.com/in", "token": "env:TOKEN"}, "WebhookChannel"),
        ({"kind": "webhook", "url": "env:PLAIN"}, "WebhookChannel"),
        ({"kind": "email", "host": "mail", "from": "a@example.com", "to": "b@example.com"}, "EmailChannel"),
    ],
)
def test_each_kind_is_made(settings: dict[str, Any], kind: str) -> None:
    assert type(opened(**settings)).__name__ == kind


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "file"}, "notify.channels.sales.path: is missing"),
        ({"kind": "slack"}, "notify.channels.sales.url: is missing"),
        ({"kind": "slack", "url": "https://hooks.slack.com/canary"}, 'url: is a secret: write "env:NAME"'),
        ({"kind": "slack", "url": "env:GONE"}, "env:GONE: the variable is not set"),
        ({"kind": "slack", "url": "env:NOT_A_URL"}, "url: is not a URL that starts with"),
        ({"kind": "slack", "url": "env:PLAIN"}, "url: would send a secret unencrypted: use https"),
        ({"kind": "slack", "token": "env:TOKEN"}, "channel: is missing"),
        (
            {"kind": "slack", "token": "env:TWO_LINES", "channel": "#a"},
            "token: env:TWO_LINES holds nothing that can be",
        ),
        ({"kind": "slack", "token": "env:EMPTY", "channel": "#a"}, "token: env:EMPTY holds nothing that can be"),
        ({"kind": "webhook"}, "url: is missing"),
        ({"kind": "webhook", "url": "ftp://example.com"}, "url: is not a URL"),
        ({"kind": "webhook", "url": "https://exa\x00mple"}, "url: is not a URL"),
        ({"kind": "email", "from": "a@b.c", "to": "a@b.c"}, "host: is missing"),
        ({"kind": "email", "host": "mail", "from": "a@b.c"}, "to: is missing: an e-mail address"),
        ({"kind": "email", "host": "mail", "from": "a@b.c\nBcc: x@y.z", "to": "a@b.c"}, "from: .* is not an e-mail"),
        ({"kind": "email", "host": "m", "from": "a@b.c", "to": "a@b.c", "password": "canary"}, "password: is a secret"),
        (
            {"kind": "email", "host": "m", "from": "a@b.c", "to": "a@b.c", "password": "env:TOKEN", "tls": "none"},
            "tls: .* would send the password unencrypted",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_key_and_without_its_secret(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        opened(**settings)
    assert "canary" not in str(caught.value)


def test_a_mail_server_has_the_port_its_encryption_usually_has() -> None:
    given = {"kind": "email", "host": "mail", "from": "a@example.com", "to": ["b@example.com", "c@example.com"]}
    boxes = [opened(**given, tls=tls).mailbox for tls in ("starttls", "ssl", "none")]
    assert [box.port for box in boxes] == [587, 465, 25]
    assert list(boxes[0].to) == ["b@example.com", "c@example.com"]
    assert opened(**given, port=2525).mailbox.port == 2525


def test_a_mail_channel_takes_reports_from_the_folder_they_are_put_into(tmp_path: Path) -> None:
    given = {"kind": "email", "host": "mail", "from": "a@example.com", "to": "b@example.com"}
    channels = open_channels({"mail": ChannelSettings.model_validate(given)}, secret, None, tmp_path)
    assert isinstance(mail := channels["mail"], EmailChannel)
    assert mail.reports == tmp_path


def test_no_secret_shows_in_a_mailbox() -> None:
    channel = opened(kind="email", host="m", **{"from": "a@b.c"}, to="a@b.c", username="u", password="env:TOKEN")
    assert channel.mailbox.password == "canary-token"
    assert "canary" not in repr(channel.mailbox)


def test_the_console_goes_where_it_is_told_and_reports_have_a_folder(tmp_path: Path) -> None:
    stream = io.StringIO()
    channels = open_channels({"console": ChannelSettings(kind="console")}, secret, stream, tmp_path / "reports")
    channels["console"].send(OutNotice("n1", "k", "console", "hello", "", 0.0, None))
    channels["report:"].send(OutNotice("n2", "k", "report:week", "week", "<p>1</p>", 0.0, None))
    assert stream.getvalue() == "1970-01-01T00:00:00.000Z notice: hello\n"
    assert (tmp_path / "reports" / "week.html").read_text() == "<p>1</p>"
