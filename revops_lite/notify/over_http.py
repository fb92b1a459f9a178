"""From `[notify.channels.*]` to the channels that speak HTTP."""

from __future__ import annotations

import httpx

from revops_lite.addresses import loopback
from revops_lite.config import ChannelSettings
from revops_lite.notify.settings import Secret, needed, resolved, secret_of, wrong
from revops_lite.notify.slack import API, SlackBot, SlackWebhook
from revops_lite.notify.webhook import WebhookChannel
from revops_lite.ports import Channel


def open_channel(name: str, settings: ChannelSettings, secret: Secret) -> Channel:
    """A channel of kind "slack" or "webhook". Raises ConfigError naming the key."""
    if settings.kind == "slack":
        return _slack(name, settings, secret)
    url = _address(resolved(settings.url, secret), name, "url", anywhere=True)
    token = secret_of(settings.token, name, "token", secret) if settings.token else None
    return WebhookChannel(name, url, token, settings.allow_private)


def _slack(name: str, settings: ChannelSettings, secret: Secret) -> Channel:
    if settings.token:
        token = secret_of(settings.token, name, "token", secret)
        channel = needed(settings.channel, name, "channel", 'the Slack channel the bot posts to, such as "#sales"')
        return SlackBot(name, token, channel, _address(settings.base_url or API, name, "base_url"))
    reference = needed(settings.url, name, "url", "the incoming webhook (or `token` and `channel`)")
    return SlackWebhook(name, _address(secret_of(reference, name, "url", secret), name, "url"))


def _address(url: str | None, name: str, key: str, anywhere: bool = False) -> str:
    """A URL that can be posted to. What it is stays unsaid: it may be a secret."""
    try:
        parsed = httpx.URL(needed(url, name, key, "the address to post to"))
    except httpx.InvalidURL as error:
        raise wrong(name, key, "is not a URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise wrong(name, key, 'is not a URL that starts with "https://"')
    if parsed.scheme == "http" and not anywhere and not loopback(parsed.host):
        raise wrong(name, key, "would send a secret unencrypted: use https")
    return str(parsed)
